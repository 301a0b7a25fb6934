"""`aaren doctor`."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import platform
import time
from importlib import metadata
from typing import Annotated, Any

from cyclopts import Parameter

from aaren._matmul_precision import MatmulPrecision, matmul_precision
from aaren.cli._common import print_json

OPTIONAL = {
    "narwhals": "data",
    "polars": "data",
    "lightning": "train",
    "matplotlib": "report",
    "gymnasium": "rl",
    "h5py": "rl",
    "mujoco": "rl",
    "cyclopts": "cli",
    "rich": "cli",
    "fastapi": "serve",
    "httptools": "serve",
    "prometheus_client": "serve",
    "uvicorn": "serve",
    "scipy": "study",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
    "executorch": "executorch",
}
LEAST_GAIN, FLOAT32_ERROR = 1.3, 1e-5


def doctor(*, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """What is installed, which backend runs here and why others cannot, instruction set, threads, products, data sets.

    Parameters
    ----------
    json
        Print one JSON line instead of text.
    """
    found = examine()
    if json:
        print_json(found)
        return
    for title, entries in found.items():
        print(title)
        for name, value in entries.items():
            print(f"  {name:<22} {value}")


def examine() -> dict[str, dict[str, Any]]:
    """Everything that `aaren doctor` prints, by section."""
    import torch

    from aaren._version import __version__
    from aaren.data import data_sets, find_parts
    from aaren.errors import AarenError
    from aaren.ops import backends, choose_backend, instruction_set

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    versions = {"aaren": __version__, "python": platform.python_version(), "torch": torch.__version__}
    versions |= {name: metadata.version(name) for name in ("numpy", "safetensors", "jaxtyping")}
    packages = {
        name: metadata.version(name) if importlib.util.find_spec(name) else f"missing: pip install 'aaren[{extra}]'"
        for name, extra in OPTIONAL.items()
    }
    operator: dict[str, Any] = {"auto, here": choose_backend("auto", device).name}
    for backend in backends():
        why = backend.missing or ("" if backend.runs_on(device) else f"does not run on {device.type}")
        operator[backend.name] = f"missing: {why}" if why else f"ready: {backend.summary}"
    machine = {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "instruction set": instruction_set() or "none: no native kernels",
        "accelerator": torch.cuda.get_device_name() if device.type == "cuda" else "none",
        "float32 products": products(),
    }
    here = 0
    for data_set in data_sets():
        with contextlib.suppress(AarenError):
            here += bool(find_parts(data_set.name))
    sets: dict[str, Any] = {
        "$AAREN_DATA": os.environ.get("AAREN_DATA", "not set"),
        "found": f"{here} of {len(data_sets())}; `aaren data list` says which",
    }
    return {
        "versions": versions,
        "optional packages": packages,
        "backends of prefix_attention": operator,
        "machine": machine,
        "data sets": sets,
    }


def products(seconds: float = 0.1) -> str:
    """How fast float32 products are on this CPU as "highest" and as "medium", how exact the latter, and what to do.

    Args:
        seconds: how long to repeat them; the best time of each counts.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(4096, 128, generator=generator), torch.randn(128, 512, generator=generator)
    settings: tuple[MatmulPrecision, ...] = ("highest", "medium")
    best, turns, begin = dict.fromkeys(settings, math.inf), 0, time.perf_counter()
    while turns < 2 or time.perf_counter() - begin < seconds:
        for setting in settings:
            with matmul_precision(setting):
                start = time.perf_counter()
                product = left @ right
                best[setting] = min(best[setting], time.perf_counter() - start)
        turns += 1
    exact = left[:512].double() @ right.double()
    error = float((product[:512] - exact).abs().max() / exact.abs().max())  # of the last setting, "medium"
    speeds = {setting: 2e-9 * left.numel() * right.shape[1] / best[setting] for setting in settings}
    advice = advise(speeds["medium"] / speeds["highest"], error)
    return f'{speeds["highest"]:.0f} GFLOP/s; as "medium" {speeds["medium"]:.0f}, error {error:.0e}: {advice}'


def advise(gain: float, error: float) -> str:
    """Whether to train with products as "medium".

    Args:
        gain: how many times as fast they are.
        error: the largest, relative to the largest number.
    """
    if gain < LEAST_GAIN:
        return "leave --matmul-precision as it is"
    if error > FLOAT32_ERROR:
        return "--matmul-precision medium is faster but less exact"
    return "train with --matmul-precision medium"

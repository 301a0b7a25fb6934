"""`aaren doctor`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
from importlib import metadata
from typing import Annotated, Any

from cyclopts import Parameter

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


def doctor(*, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """What is installed, which backend runs here and why others cannot, instruction set, threads, data sets.

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

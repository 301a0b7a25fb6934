"""Trained models for other runtimes: one step, row in and state in, prediction out and state out.

    aaren.export.export("model/", "out/", to="numpy")
    runner = aaren.export.open_export("out/")
    said = runner.update(row)

`aaren verify` says whether an export still says what the model says. Names are imported when they are first used, so
that an export can be opened without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaren.export._answers import in_deviations
    from aaren.export._c import write_c
    from aaren.export._export import Exported, export, open_export
    from aaren.export._manifest import Manifest, TensorSpec, read_manifest
    from aaren.export._metrics import Metric
    from aaren.export._real_rows import RealRows, real_rows
    from aaren.export._runner import Runner
    from aaren.export._runtimes import RUNTIMES, Runtime
    from aaren.export._verify import Verification, model_of, verify

__all__ = [
    "RUNTIMES",
    "Exported",
    "Manifest",
    "Metric",
    "RealRows",
    "Runner",
    "Runtime",
    "TensorSpec",
    "Verification",
    "export",
    "in_deviations",
    "model_of",
    "open_export",
    "read_manifest",
    "real_rows",
    "verify",
    "write_c",
]

_HOMES = {
    "RUNTIMES": "_runtimes",
    "Exported": "_export",
    "Manifest": "_manifest",
    "Metric": "_metrics",
    "RealRows": "_real_rows",
    "Runner": "_runner",
    "Runtime": "_runtimes",
    "TensorSpec": "_manifest",
    "Verification": "_verify",
    "export": "_export",
    "in_deviations": "_answers",
    "model_of": "_verify",
    "open_export": "_export",
    "read_manifest": "_manifest",
    "real_rows": "_real_rows",
    "verify": "_verify",
    "write_c": "_c",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"aaren.export.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'aaren.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

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
    from aaren.export._export import Exported, export, open_export
    from aaren.export._manifest import Manifest, TensorSpec, read_manifest
    from aaren.export._runner import Runner
    from aaren.export._runtimes import RUNTIMES, Runtime

__all__ = [
    "RUNTIMES",
    "Exported",
    "Manifest",
    "Runner",
    "Runtime",
    "TensorSpec",
    "export",
    "open_export",
    "read_manifest",
]

_HOMES = {
    "RUNTIMES": "_runtimes",
    "Exported": "_export",
    "Manifest": "_manifest",
    "Runner": "_runner",
    "Runtime": "_runtimes",
    "TensorSpec": "_manifest",
    "export": "_export",
    "open_export": "_export",
    "read_manifest": "_manifest",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"aaren.export.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'aaren.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Open an export for numpy: the files of the model, its step, and the front of its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aaren.errors import ModelFileError
from aaren.export._manifest import Manifest, read_manifest
from aaren.export._runner import Arrays
from aaren.export.runner._classifier import ClassifierStep
from aaren.export.runner._events import EventStep
from aaren.export.runner._forecaster import ForecasterStep
from aaren.export.runner._front import Front
from aaren.export.runner._front_classifier import ClassifierFront
from aaren.export.runner._front_events import EventFront
from aaren.export.runner._front_forecaster import ForecasterFront
from aaren.export.runner._front_policy import PolicyFront
from aaren.export.runner._policy import PolicyStep
from aaren.export.runner._safetensors import read_safetensors
from aaren.export.runner._step_runner import StepRunner
from aaren.export.runner._weights import Weights

FRONTS: Mapping[str, Any] = {
    "classifier": ClassifierFront,
    "events": EventFront,
    "forecaster": ForecasterFront,
    "policy": PolicyFront,
}
STEPS: Mapping[str, Any] = {
    "classifier": ClassifierStep,
    "events": EventStep,
    "forecaster": ForecasterStep,
    "policy": PolicyStep,
}


def make_front(manifest: Manifest, **options: Any) -> Front:
    """The front of an export's kind; options as those of `model.stream()`, such as `on_bad_row`."""
    return FRONTS[manifest.kind](manifest.config, manifest.preprocessing, **options)


class NumpyRunner(StepRunner):
    """The model on numpy alone.

    Args:
        manifest: of the export.
        directory: with config.json, model.safetensors and preprocessing.json.
        options: of the front.

    Raises:
        ModelFileError: a file is damaged, or is not the one of the manifest.
    """

    def __init__(self, manifest: Manifest, directory: Path, **options: Any) -> None:
        header = _read_json(directory / "config.json")
        preprocessing = _read_json(directory / "preprocessing.json")
        for name, expected, received in (
            ("config.json", manifest.fingerprint, header.get("fingerprint")),
            ("config.json", manifest.config, header.get("config")),
            ("preprocessing.json", manifest.preprocessing, preprocessing),
        ):
            if expected != received:
                raise ModelFileError(f"{directory / name}: it is of another model than {directory / 'manifest.json'}")
        super().__init__(manifest, make_front(manifest, **options))
        path = directory / "model.safetensors"
        weights = Weights(read_safetensors(path)[0], str(path))
        try:
            self._step = STEPS[manifest.kind](weights, manifest.config, manifest.preprocessing)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{directory / 'config.json'}: describes no model: {error}") from None
        weights.end()

    def step(self, token: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        """One token; see `StepRunner.step`."""
        return self._step(token, state)


def open_numpy(directory: str | Path, **options: Any) -> NumpyRunner:
    """The runner of a directory that `aaren export --to numpy` wrote.

    Raises:
        ModelFileError: the directory is damaged, or is of another runtime.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest.runtime != "numpy":
        raise ModelFileError(
            f"{directory}: expected an export for numpy, received one for {manifest.runtime}; open it with "
            "aaren.export.open_export"
        )
    return NumpyRunner(manifest, directory, **options)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelFileError(f"{path}: expected a JSON object, received {type(data).__name__}")
    return data

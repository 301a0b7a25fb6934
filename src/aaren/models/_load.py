"""`aaren.load`: a model from its directory, checked before a number is used."""

from __future__ import annotations

from pathlib import Path

import torch

from aaren.errors import ModelFileError
from aaren.models._config import ForecasterConfig
from aaren.models._directory import read_header, read_json, read_weights
from aaren.models._forecaster import Forecaster
from aaren.models._preprocessing import Preprocessing


def load(directory: str | Path, *, device: torch.device | str = "cpu") -> Forecaster:
    """Load a model that `save` wrote, in evaluation mode.

    Args:
        directory: with config.json, model.safetensors and preprocessing.json.
        device: where to put the weights.

    Raises:
        ModelFileError: a file is missing, damaged, of another version, or the parts do not belong together.
    """
    directory = Path(directory)
    header = read_header(directory)
    if header["kind"] != Forecaster.kind:
        raise ModelFileError(f"{directory}: expected a model of kind 'forecaster', received {header['kind']!r}")
    config = ForecasterConfig.from_dict(header["config"])
    written = read_json(directory / "preprocessing.json")
    preprocessing = Preprocessing.from_dict(written) if written else None
    with torch.device("meta"):
        expected = Forecaster(config).state_dict()
    weights = read_weights(directory / "model.safetensors", expected)
    with torch.random.fork_rng(devices=[]):  # the first draw of the weights is not the user's
        model = Forecaster(config, preprocessing=preprocessing, metadata=header["metadata"])
    model.load_state_dict(weights)
    if model.fingerprint() != header["fingerprint"]:
        raise ModelFileError(
            f"{directory}: expected the fingerprint {header['fingerprint']!r} of config.json, received "
            f"{model.fingerprint()!r}; a file was changed or is of another model; take a whole copy"
        )
    return model.to(device).eval()

"""`aaren.load`: a model from its directory, checked before a number is used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aaren.errors import ModelFileError
from aaren.models._classifier import Classifier
from aaren.models._directory import check_tensors, read_header, read_json, read_weights
from aaren.models._event_model import EventModel
from aaren.models._forecaster import Forecaster
from aaren.models._model import Model
from aaren.models._policy import Policy

MODELS: dict[str, type[Model[Any, Any]]] = {model.kind: model for model in (Classifier, EventModel, Forecaster, Policy)}
"""The classes of models by the kind that their directories name."""


def load(directory: str | Path, *, device: torch.device | str = "cpu") -> Model[Any, Any]:
    """Load a model of any kind that `save` wrote, in evaluation mode.

    Args:
        directory: with config.json, model.safetensors and preprocessing.json.
        device: where to put the weights.

    Raises:
        ModelFileError: a file is missing, damaged, of another version, or the parts do not belong together.
    """
    directory = Path(directory)
    header = read_header(directory)
    model_type = MODELS.get(header["kind"]) if isinstance(header["kind"], str) else None
    if model_type is None:
        raise ModelFileError(f"{directory}: expected a model of kind {_kinds()}, received {header['kind']!r}")
    config = model_type.config_type.from_dict(header["config"])
    written = read_json(directory / "preprocessing.json")
    preprocessing = model_type.preprocessing_type.from_dict(written) if written else None
    new: Callable[..., Model[Any, Any]] = model_type
    build = partial(new, config, preprocessing=preprocessing, metadata=header["metadata"])
    file = directory / "model.safetensors"
    weights = read_weights(file)
    check_tensors(file, weights, _expected(directory, config.num_layers, build, len(weights)))
    with torch.random.fork_rng(devices=[]):  # the first draw of the weights is not the user's
        model = build()
    model.load_state_dict(weights)
    if model.fingerprint() != header["fingerprint"]:
        raise ModelFileError(
            f"{directory}: expected the fingerprint {header['fingerprint']!r} of config.json, received "
            f"{model.fingerprint()!r}; a file was changed or is of another model; take a whole copy"
        )
    return model.to(device).eval()


def _kinds() -> str:
    return " or ".join(repr(kind) for kind in MODELS)


class _Undrawn(TorchFunctionMode):
    """Leaves normal draws out: on the meta device there is nothing to draw, and the try costs seconds of imports."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is nn.init.normal_:
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _expected(
    directory: Path, num_layers: int, build: Callable[[], Model[Any, Any]], tensors: int
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and dtypes of the model's tensors, found without memory for them."""
    if num_layers > tensors:
        raise ModelFileError(f"{directory}: expected weights of {num_layers} layers, received {tensors} tensors")
    try:
        with torch.device("meta"), _Undrawn():
            state: dict[str, Tensor] = build().state_dict()
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise ModelFileError(f"{directory}: config.json and preprocessing.json describe no model: {error}") from None
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}

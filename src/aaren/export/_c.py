"""A model as C: one NAME.c and NAME.h, a program that reads rows, and a Makefile.

C99 without allocation; weights in read-only data, the state a plain struct, sums over the past in double or in two
floats. The templates are in the folder `c`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aaren._version import __version__
from aaren.export._c_encoder import encoder_parts, finite, position_parts
from aaren.export._c_kinds import KINDS, program, source
from aaren.export._c_template import comment, render, template
from aaren.export._c_tensors import state_specs
from aaren.export._runtimes import Written
from aaren.export._tensors import step_tensors
from aaren.models import Model
from aaren.nn import AarenEncoder

_AROUND_PAYLOAD = 8 + 4 + 4 + 32 + 4  # magic, version, form, fingerprint, checksum
_WORDS = """
errno math stddef stdint stdio stdlib string
auto break case char const continue default do double else enum extern float for goto if inline int long main register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
"""


def write(model: Model[Any, Any], directory: Path, precision: str) -> Written:
    """What `aaren export --to c` writes."""
    files = write_c(model, directory, precision)
    tensors = step_tensors(model)
    assert model.preprocessing is not None, "a model without is refused"
    state = state_specs(model.kind, model.config.to_dict(), model.preprocessing.to_dict())
    return Written(files, tensors.inputs, tensors.outputs, state)


def write_c(
    model: Model[Any, Any], directory: str | Path, precision: str = "float32", name: str = "model"
) -> list[Path]:
    """Write the C sources of a model.

    Args:
        model: with preprocessing, and an encoder "aaren".
        directory: that is there.
        precision: "float32", or "int8": the encoder's matrices in int8, one scale for each output.
        name: of the files, and what every public name in them begins with.

    Returns:
        The files: NAME.h, NAME.c, main.c and Makefile.

    Raises:
        ValueError: the model cannot be written in C, or the name is none in C.
    """
    _require(model, precision, name)
    encoder = model.encoder
    assert isinstance(encoder, AarenEncoder), "an encoder 'aaren' is one"
    parts = KINDS[model.kind](model)
    for more in (encoder_parts(encoder, model.config, precision), _positions(model)):
        parts.values |= more.values
        parts.flags |= more.flags
        parts.payload += more.payload
    fingerprint = model.fingerprint()
    parts.values |= {
        "name": name,
        "NAME": name.upper(),
        "title": comment(model.describe()),
        "version": __version__,
        "precision": precision,
        "fingerprint": fingerprint,
        "fingerprint_bytes": ", ".join(str(byte) for byte in bytes.fromhex(fingerprint)),
        "record_bytes": str(_AROUND_PAYLOAD + parts.payload),
    }
    texts = {
        f"{name}.h": render(template("header.h"), parts.values, parts.flags),
        f"{name}.c": source(model.kind, parts),
        "main.c": program(model.kind, parts),
        "Makefile": render(template("Makefile"), parts.values, parts.flags),
    }
    files = [Path(directory) / file for file in texts]
    for file, text in zip(files, texts.values(), strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def _positions(model: Model[Any, Any]) -> Any:
    """Frequencies, where the model has sinusoidal positions; none otherwise."""
    parts = position_parts(model.config.d_model)
    if model.kind != "events" and getattr(model.config, "positions", None) != "sinusoidal":
        parts.flags.clear()
    return parts


def _require(model: Model[Any, Any], precision: str, name: str) -> None:
    config = model.config
    if model.preprocessing is None:
        raise ValueError("model: expected preprocessing (columns and units), received None; train or load a model")
    if config.encoder != "aaren":
        raise ValueError(
            f"model: expected encoder='aaren' for C, received {config.encoder!r}; train with encoder='aaren', or "
            "export to another runtime"
        )
    if getattr(config, "normalization", "running") != "running":
        raise ValueError(
            f"model: expected normalization='running' to stream, received {config.normalization!r}, which needs its "
            "whole window again for every row; train with normalization='running'"
        )
    if precision not in ("float32", "int8"):
        raise ValueError(f"precision: expected 'float32' or 'int8' for C, received {precision!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or name in _WORDS.split():
        raise ValueError(
            f"name: expected small letters, digits and underscores, no word of C, none of its headers and not 'main', "
            f"received {name!r}"
        )
    if not finite(model):
        raise ValueError("model: expected finite weights, received others; train the model again")

"""Damaged, foreign and hostile model directories: a `ModelFileError` with a reason, and nothing else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forecaster_cases import forecaster, preprocessing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import aaren
from aaren.errors import ModelFileError
from aaren.models import ForecasterConfig
from aaren.models._directory import fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A sound model directory."""
    forecaster(preprocessing=preprocessing(), num_layers=1).save(tmp_path / "model")
    return tmp_path / "model"


def refused(directory: Path, message: str = ".") -> None:
    """The directory is refused, for that reason."""
    with pytest.raises(ModelFileError, match=message):
        aaren.load(directory)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(data)), encoding="utf-8")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessing.json"])
def test_missing_files(name: str, directory: Path) -> None:
    """A directory without one of its files is refused with the name of the file; so is a folder in its place."""
    (directory / name).unlink()
    refused(directory, rf"{name}: no such file")
    (directory / name).mkdir()
    refused(directory, name)


def test_no_directory(tmp_path: Path) -> None:
    """A path that does not exist, or is a file, or cannot be a path, is refused."""
    refused(tmp_path / "nowhere", "no such file; expected a model directory")
    (tmp_path / "file").write_text("{}")
    refused(tmp_path / "file")
    refused(tmp_path / "nul\0")


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"[1, 2]", "expected a JSON object, received list"),
        (b"null", "expected a JSON object, received NoneType"),
        (b'{"a": "\xff\xfe"}', "not readable as JSON"),
        (b"\xef\xbb\xbf{}", "not readable as JSON"),
        (b"[" * 200_000, "not readable as JSON"),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "not readable as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable as JSON"),
    ],
)
def test_what_is_no_json_object(name: str, content: bytes, message: str, directory: Path) -> None:
    """Empty, cut off, badly encoded and endlessly nested files, and numbers of many digits, are refused."""
    (directory / name).write_bytes(content)
    refused(directory, message)


def test_wrong_headers(directory: Path) -> None:
    """A header that lacks an entry, or is of another format, kind or model, is refused with what was expected."""
    config = directory / "config.json"
    text = config.read_text(encoding="utf-8")
    for entry in ("format", "kind", "fingerprint", "config", "metadata"):
        edit(config, lambda data, entry=entry: {key: value for key, value in data.items() if key != entry})
        refused(directory, f"entries are missing: {entry}")
        config.write_text(text, encoding="utf-8")
    for changes, message in (
        ({"format": 2}, "expected format 1, received 2"),
        ({"kind": "classifier"}, "expected a model of kind .*, received 'classifier'"),
        ({"fingerprint": "0" * 64}, "expected the fingerprint"),
        ({"config": []}, "expected objects for config and metadata"),
        ({"metadata": 3}, "expected objects for config and metadata"),
    ):
        edit(config, lambda data, changes=changes: {**data, **changes})
        refused(directory, message)
        config.write_text(text, encoding="utf-8")
    assert aaren.load(directory)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 10**7}, "tensor 'embed.weight': expected"),
        ({"dim_feedforward": 10**12}, "expected"),
        ({"horizon": 10**12}, "expected"),
        ({"highway": 10**12}, "missing tensors"),
        ({"num_layers": 10**9}, "expected weights of 1000000000 layers, received 17 tensors"),
        ({"d_model": 10**10}, "describe no model"),
        ({"look_back": 10**400}, "describe no model"),
        ({"d_model": 10**30}, "describe no model"),
        ({"nhead": 3}, "nhead: expected a divisor"),
        ({"encoder": "gru"}, "missing tensors"),
        ({"inputs": 4}, "preprocessing: expected"),
        ({"calendar": 4}, "preprocessing: expected"),
        ({"targets": 1}, "preprocessing: expected"),
        ({"half_life": 5.0}, "fingerprint"),
        ({"activation": "relu"}, "fingerprint"),
    ],
    ids=str,
)
def test_configurations_of_another_model(fields: dict[str, Any], message: str, directory: Path) -> None:
    """Other sizes than those of the weights are refused, absurd ones before any memory is taken for them."""
    edit(directory / "config.json", lambda data: {**data, "config": {**data["config"], **fields}})
    refused(directory, message)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(part=st.sampled_from(["config", "preprocessing"]), entry=st.integers(0, 100), value=JSON)
@example(part="preprocessing", entry=2, value=10**30)
@example(part="preprocessing", entry=2, value=0)
def test_any_json_in_any_entry(part: str, entry: int, value: Any, directory: Path) -> None:
    """Whatever JSON replaces an entry, the outcome is the same model or a `ModelFileError`."""
    path = directory / f"{part}.json"
    text = path.read_text(encoding="utf-8")
    sound = aaren.load(directory).fingerprint()
    data = json.loads(text)
    entries = data["config"] if part == "config" else data
    entries[sorted(entries)[entry % len(entries)]] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    try:
        assert aaren.load(directory).fingerprint() == sound  # such as {} for [] or 1 for true
    except ModelFileError:
        pass
    finally:
        path.write_text(text, encoding="utf-8")


def test_preprocessing_of_another_model(directory: Path, tmp_path: Path) -> None:
    """Preprocessing of another model, or none, is refused; even where the fingerprint was forged to fit."""
    forecaster(preprocessing=preprocessing(("a", "b")), num_layers=1).save(tmp_path / "other")
    (directory / "preprocessing.json").write_bytes((tmp_path / "other" / "preprocessing.json").read_bytes())
    refused(directory, "fingerprint")
    (directory / "preprocessing.json").write_text("{}")
    refused(directory, "fingerprint")
    wrong = preprocessing(("a",), ("b",)).to_dict()
    (directory / "preprocessing.json").write_text(json.dumps(wrong))
    weights = load_file(directory / "model.safetensors")
    edit(
        directory / "config.json",
        lambda data: {**data, "fingerprint": fingerprint("forecaster", data["config"], wrong, weights)},
    )
    refused(directory, r"preprocessing: expected \(inputs, targets, calendar features\) = \(3, 2, 2\)")


def test_other_tensors(directory: Path) -> None:
    """Weights that are missing, extra, or of another shape or type are refused by name."""
    path = directory / "model.safetensors"
    weights = load_file(path)
    changes: list[tuple[dict[str, torch.Tensor], str]] = [
        ({k: x for k, x in weights.items() if k != "head.bias"}, r"missing tensors \['head.bias'\]"),
        ({**weights, "extra": torch.zeros(1)}, r"unexpected tensors \['extra'\]"),
        ({**weights, "head.bias": torch.zeros(3)}, r"tensor 'head.bias': expected \(8,\) .* received \(3,\)"),
        ({**weights, "head.bias": weights["head.bias"].half()}, "received .* torch.float16"),
        ({**weights, "head.bias": weights["head.bias"] + 1}, "fingerprint"),
        ({}, "expected weights of 1 layers, received 0 tensors"),
    ]
    for tensors, message in changes:
        save_file(tensors, path)
        refused(directory, message)


def test_truncated_oversize_and_flipped_weights(directory: Path) -> None:
    """Weights cut off anywhere, with bytes after their end, or with any bit of the header flipped, are refused."""
    path = directory / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for length in (0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(directory)
    path.write_bytes(whole + b"\0")
    refused(directory)
    places = [*range(8), *range(8, header, 13), header, (header + len(whole)) // 2, len(whole) - 1]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(directory)


@pytest.mark.parametrize(
    "header",
    [
        {"head.bias": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 32]}},
        {"head.bias": {"dtype": "F32", "shape": [8], "data_offsets": [0, 2**63]}},
        {"head.bias": {"dtype": "F32", "shape": [-8], "data_offsets": [0, 32]}},
        {"head.bias": {"dtype": "F4096", "shape": [8], "data_offsets": [0, 32]}},
        {"head.bias": {"dtype": "F32", "shape": [8], "data_offsets": [32, 0]}},
        {"head.bias": None},
        {"__metadata__": {"a": 1}},
        [],
    ],
    ids=str,
)
def test_crafted_weights(header: Any, directory: Path) -> None:
    """Headers with huge, negative or senseless sizes are refused."""
    text = json.dumps(header).encode()
    for length in (len(text), 2**63, 2**64 - 1):
        (directory / "model.safetensors").write_bytes(struct.pack("<Q", length) + text + bytes(32))
        refused(directory)


def test_a_pickle_in_place_of_the_weights(directory: Path) -> None:
    """Weights written by `torch.save` are refused, not unpickled."""
    torch.save({"head.bias": torch.zeros(8)}, directory / "model.safetensors")
    refused(directory, "damaged or not a safetensors file")


def test_the_configuration_alone_does_not_make_the_fingerprint() -> None:
    """Two weights of different shape and the same bytes have different fingerprints."""
    config = ForecasterConfig(inputs=1, targets=1, horizon=1).to_dict()
    tall, wide = ({"w": torch.zeros(shape)} for shape in ((2, 3), (3, 2)))
    assert fingerprint("forecaster", config, {}, tall) != fingerprint("forecaster", config, {}, wide)

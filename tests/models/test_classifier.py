"""The classifier: parallel = streamed, padding and gaps that leave no trace, loss, calibration, directory, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifier_cases import KINDS, classifier, described, series
from torch.nn import functional as F

import aaren
from aaren.errors import ModelFileError
from aaren.models import Classification, ClassifierConfig, ClassifierPreprocessing
from aaren.nn import AarenEncoder

TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> aaren.Classifier:
    """A small classifier with every kind of encoder."""
    return classifier(**request.param)


@pytest.mark.parametrize("sizes", [[1] * 10, [4, 6], [1, 8, 1]])
def test_any_partition_gives_the_same_logits(model: aaren.Classifier, sizes: list[int]) -> None:
    """Token by token, or in any chunks, the logits, the state and the gradients are those of one pass."""
    values = series()
    whole, state = model(values)
    parts, running = [], None
    for chunk in values.split(sizes, 1):
        said, running = model(chunk, None, running)
        parts.append(said.logits)
    together = torch.cat(parts, 1)
    torch.testing.assert_close(together, whole.logits, **TOLERANCE)
    torch.testing.assert_close(running.total, state.total, **TOLERANCE)
    assert running.position.tolist() == state.position.tolist() == [10] * 3
    gradients = [torch.autograd.grad(logits.square().sum(), model.embed.weight)[0] for logits in (whole[0], together)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_the_head_is_its_formula() -> None:
    """Logits are a linear map of the last output and the mean of all outputs so far."""
    model = classifier()
    values = series(missing=0)
    features = torch.cat([values, torch.ones_like(values)], -1)
    encoded, _ = model.encoder(model.embed(features))
    for token in range(values.shape[1]):
        head = model.head(torch.cat([encoded[:, token], encoded[:, : token + 1].mean(1)], -1))
        torch.testing.assert_close(model(values)[0].logits[:, token], head, **TOLERANCE)


def test_padding_leaves_no_trace(model: aaren.Classifier) -> None:
    """Series of unequal length in one batch say what each says alone, whatever lies behind the mask."""
    values = series()
    lengths = torch.tensor([10, 4, 1])
    mask = torch.arange(10) < lengths[:, None]
    values[~mask] = torch.tensor([torch.nan, torch.inf, 1e30])
    said, state = model(values, mask)
    for row, length in enumerate(lengths.tolist()):
        alone, after = model(values[row : row + 1, :length])
        torch.testing.assert_close(said.logits[row, :length], alone.logits[0], **TOLERANCE)
        for token in range(length, 10):
            assert torch.equal(said.logits[row, token], said.logits[row, length - 1])
        torch.testing.assert_close(state.total[row], after.total[0], **TOLERANCE)
        assert int(state.position[row]) == length
    said.logits.sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_a_masked_token_is_a_deleted_one(model: aaren.Classifier) -> None:
    """A gap inside, and one at the start of a chunk, equal the series without them, in logits and state."""
    values = series(batch=1)
    mask = torch.tensor([[True, False, True, True, False, False, True, True, False, True]])
    kept, after = model(values[:, mask[0]])
    first, state = model(values[:, :5], mask[:, :5])
    second, state = model(values[:, 5:], mask[:, 5:], state)
    said = torch.cat([first.logits, second.logits], 1)
    torch.testing.assert_close(said[:, mask[0]], kept.logits, **TOLERANCE)
    assert torch.equal(said[:, 5], said[:, 4]), "the first token of a chunk is a gap: the answer before it stands"
    torch.testing.assert_close(state.total, after.total, **TOLERANCE)


def test_the_future_does_not_reach_back(model: aaren.Classifier) -> None:
    """Other values from some row on change no logits before it."""
    values = series()
    other = values.clone()
    other[:, 6:] = 5
    before, after = model(values)[0].logits, model(other)[0].logits
    torch.testing.assert_close(before[:, :6], after[:, :6], rtol=0, atol=1e-6)
    assert (before[:, 6:] - after[:, 6:]).abs().max() > 1e-3


def test_a_missing_value_is_told_from_an_average_one() -> None:
    """A missing value and a value of 0, the training mean, give different answers; NaN itself reaches nothing."""
    model, values = classifier(), series(missing=0)
    missing, average = values.clone(), values.clone()
    missing[:, 3, 1], average[:, 3, 1] = torch.nan, 0
    assert model(missing)[0].logits.isfinite().all()
    assert (model(missing)[0].logits - model(average)[0].logits).abs().max() > 1e-3


def test_the_running_mean_keeps_its_precision() -> None:
    """After a million tokens of past, one more token still moves the mean by its share: the sum is float64."""
    model = classifier()
    state = model.init_state(1)
    state = state._replace(position=torch.tensor([10**8]), total=torch.full((1, 8), 1e8 / 3, dtype=torch.float64))
    _, after = model(series(batch=1, tokens=1), None, state)
    moved = after.total - state.total
    torch.testing.assert_close(moved[0].float(), after.last[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_loss(weight: float) -> None:
    """The loss is cross-entropy at each series' own last token, plus the weighted mean over its earlier ones."""
    model = classifier(early_weight=weight)
    values, labels = series(), torch.tensor([0, 3, 1])
    lengths = [10, 4, 1]
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    said, _ = model(values, mask)
    expected = torch.zeros(())
    for row, length in enumerate(lengths):
        each = F.cross_entropy(said.logits[row, :length], labels[row].repeat(length), reduction="none")
        expected = expected + each[-1] / 3
        if length > 1:
            expected = expected + weight * each[:-1].mean() / 3
    torch.testing.assert_close(model.loss(said, labels, mask), expected)
    alone = Classification(said.logits[:1])
    torch.testing.assert_close(model.loss(alone, labels[:1]), model.loss(alone, labels[:1], mask[:1]))


def test_probabilities_are_calibrated() -> None:
    """The temperature of so many rows divides the logits; without preprocessing it is 1."""
    rows = torch.tensor([1, 2, 3, 6, 7, 1000])
    logits = torch.tensor([0.0, 3.0, 1.0, -1.0]).expand(6, 4)
    torch.testing.assert_close(classifier().probabilities(logits, rows), logits.double().softmax(-1))
    expected = (logits.double() / torch.tensor([[2.5, 2.5, 1.5, 1.5, 0.1 + 0.2, 0.1 + 0.2]]).double().T).softmax(-1)
    torch.testing.assert_close(classifier(preprocessing=described()).probabilities(logits, rows), expected)
    one = classifier(preprocessing=described()).probabilities(logits[0], rows[2])
    torch.testing.assert_close(one, expected[2])


def test_the_paper_configuration() -> None:
    """Without further fields the encoder is the paper's: Aaren, 3 layers, width 128, 8 heads, feed-forward 256."""
    config = ClassifierConfig(channels=1, classes=2)
    assert (config.num_layers, config.d_model, config.nhead, config.dim_feedforward) == (3, 128, 8, 256)
    assert (config.encoder, config.decay, config.positions, config.early_weight) == ("aaren", None, "sinusoidal", 0)
    assert isinstance(aaren.Classifier(config).encoder, AarenEncoder)


def test_save_and_load(model: aaren.Classifier, tmp_path: Path) -> None:
    """A loaded classifier has the same bits, names and temperatures, and a card in words."""
    model.preprocessing = described()
    model.save(tmp_path / "model")
    loaded = aaren.load(tmp_path / "model")
    assert isinstance(loaded, aaren.Classifier)
    assert loaded.fingerprint() == model.fingerprint()
    assert loaded.preprocessing.to_dict() == described().to_dict()
    assert torch.equal(loaded(series())[0].logits, model(series())[0].logits)
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "which of the classes a, b, c, d a series of u0, u1, u2 is of" in card
    assert "which of 4 classes a series of 3 channels" in classifier().describe()


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "channels: expected a whole number of at least 1"),
        ({"classes": 1}, "classes: expected a whole number of at least 2"),
        ({"positions": "learned"}, "positions: expected one of None, 'sinusoidal'"),
        ({"decay": "time"}, "decay: expected None or 'learned'"),
        ({"early_weight": -1.0}, "early_weight: expected 0 or a positive number"),
        ({"early_weight": float("nan")}, "early_weight"),
        ({"early_weight": float("inf")}, "early_weight"),
        ({"preprocessing": described(channels=2)}, r"expected \(channels, classes\) = \(3, 4\).*\(2, 4\)"),
        ({"preprocessing": described(classes=3)}, r"received \(3, 3\)"),
    ],
)
def test_configurations_at_fault(fields: dict[str, Any], message: str) -> None:
    """A field out of range, or names for another number of channels or classes, are refused with both."""
    with pytest.raises(ValueError, match=message):
        classifier(**fields)


@pytest.mark.usefixtures("without_shape_checks")
def test_inputs_at_fault() -> None:
    """Wrong shapes are refused with what was expected and what came."""
    model = classifier()
    for shape in ((2, 5), (2, 0, 3), (2, 5, 4)):
        with pytest.raises(ValueError, match=r"values: expected shape \(batch, tokens >= 1, 3\), received"):
            model(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 5\), received \(2, 4\)"):
        model(torch.zeros(2, 5, 3), torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="state: expected that of a batch of 2, received one of 3"):
        model(torch.zeros(2, 1, 3), state=model.init_state(3))


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["a", "b", "c"]},
        {"classes": ["a", "b", "c", "c"]},
        {"classes": "abcd"},
        {"classes": [1, 2, 3, 4]},
        {"classes": []},
        {"temperatures": []},
        {"temperatures": 2.0},
        {"temperatures": None},
        {"temperatures": [[1, 0.0]]},
        {"temperatures": [[1, -1.0]]},
        {"temperatures": [[1, "2"]]},
        {"temperatures": [[1, True]]},
        {"temperatures": [[1, float("inf")]]},
        {"temperatures": [[2, 1.0]]},
        {"temperatures": [[1, 1.0], [1, 2.0]]},
        {"temperatures": [[1, 1.0], [5, 2.0], [4, 2.0]]},
        {"temperatures": [[1.0, 1.0]]},
        {"temperatures": [[1, 1.0], [2**63, 1.0]]},
        {"temperatures": [[1, 1e-320]]},
        {"temperatures": [[1, 10**400]]},
        {"temperatures": [[True, 1.0]]},
        {"temperatures": [[1, 1.0, 2.0]]},
        {"temperatures": [1, 1.0]},
        {"temperature": 1.0},
        {"scaler": {}},
        {"scaler": {"names": ["u"], "mean": [0.0], "deviation": [1.0]}},
        {"scaler": {"names": ["u", "u", "v"], "mean": [0, 0, 0], "deviation": [1, 1, 1]}},
        {"scaler": {"names": ["u", "v", "w"], "mean": [0, 0, 0], "deviation": [1, 0, 1]}},
        {"more": 1},
    ],
)
def test_preprocessing_at_fault(change: dict[str, Any], tmp_path: Path) -> None:
    """A preprocessing.json with entries of another type, number or range is refused before the model is used."""
    classifier(preprocessing=described()).save(tmp_path)
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(ModelFileError):
        aaren.load(tmp_path)


def test_preprocessing_goes_through_json() -> None:
    """Names, scale and temperatures come back from JSON exactly; an entry too few is refused by name."""
    data = json.loads(json.dumps(described().to_dict()))
    assert ClassifierPreprocessing.from_dict(data).temperatures == described().temperatures
    of_numpy = dataclasses.replace(described(), temperatures=((1, np.float64(1.5)), (4, np.float64(2))))
    data = json.loads(json.dumps(of_numpy.to_dict()))
    assert data["temperatures"] == [[1, 1.5], [4, 2.0]]
    assert ClassifierPreprocessing.from_dict({**data, "temperatures": [[1, 1.5], [4, 2]]}).to_dict() == data
    assert ClassifierPreprocessing.from_dict(data).to_dict() == data
    with pytest.raises(ModelFileError, match=r"missing or unknown: \['temperatures'\]"):
        ClassifierPreprocessing.from_dict({name: data[name] for name in ("classes", "scaler")})

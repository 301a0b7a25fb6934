"""A classifier on labelled series: metrics at the end of each, and after every tenth of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren.data import CaseSet
from aaren.errors import DataError
from aaren.evaluation._class_metrics import class_metrics
from aaren.evaluation._prepared_cases import CaseDataset
from aaren.models import Classifier

FRACTIONS = tuple(tenth / 10 for tenth in range(1, 11))
_TOKENS = 16_384


@torch.no_grad()
def case_logits(model: Classifier, cases: CaseSet) -> NDArray[np.float32]:
    """Logits after every tenth of each case.

    Args:
        model: the classifier, with preprocessing.
        cases: read with the model's classes.

    Returns:
        Shape (cases, 10, classes): after the first 10 % of the rows (at least one; rounded up), 20 %, ..., and all.
        They are of one pass: a classifier answers after every row and never looks ahead.

    Raises:
        DataError: the cases are not of the kind that the model was trained on.
        ValueError: the model has no preprocessing.
    """
    preprocessing = model.preprocessing
    if preprocessing is None:
        raise ValueError("model: expected preprocessing (channels and classes), received None; train or load a model")
    model.eval()
    dataset = CaseDataset(cases, preprocessing)
    lengths = cases.lengths
    result = np.empty((len(cases), len(FRACTIONS), len(preprocessing.classes)), dtype=np.float32)
    for chosen in _batches(lengths):
        batch = dataset.__getitems__(chosen.tolist())
        said, _ = model(batch["values"].to(model.device), batch["mask"].to(model.device))
        rows = rows_of_parts(lengths[chosen]) - 1
        if not bool(said.logits[batch["mask"]].isfinite().all()):
            number = int(chosen[int((~said.logits.isfinite()).flatten(1).any(1).nonzero()[0])]) + 1
            raise DataError(
                f"expected cases that the model can take, received case {number}, after which no answer is a number; "
                "its numbers are far beyond those of the training data: mark them as missing",
                source=cases.source,
            )
        result[chosen] = np.take_along_axis(said.logits.float().cpu().numpy(), rows[..., None], axis=1)
    return result


def rows_of_parts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows every tenth of each case has, at least one, rounded up: shape (cases, 10)."""
    return np.ceil(np.outer(lengths, FRACTIONS) - 1e-9).astype(np.int64)


def evaluate_cases(model: Classifier, cases: CaseSet) -> dict[str, Any]:
    """Accuracy, log loss and calibration error at the end of each case and after every tenth of it, and confusion.

    Args:
        model: the classifier.
        cases: read with the model's classes; cases without a class are an error.

    Returns:
        Plain data, as `class_metrics`, and by fraction of the series, "0.1" to "1.0", the accuracy ("early") and the
        calibration error ("early_calibration_error").

    Raises:
        DataError: a case has no class, or the cases are not of the kind that the model was trained on.
    """
    if (cases.labels < 0).any():
        number = int(np.argmax(cases.labels < 0)) + 1
        raise DataError(f"expected a class for every case, received none for case {number}", source=cases.source)
    logits = case_logits(model, cases)
    assert model.preprocessing is not None, "case_logits has refused it"
    temperatures = model.preprocessing.temperature(torch.from_numpy(rows_of_parts(cases.lengths))).numpy()
    found = [class_metrics(logits[:, part], cases.labels, temperatures[:, part]) for part in range(len(FRACTIONS))]
    return {
        **found[-1],
        "early": {str(part): one["accuracy"] for part, one in zip(FRACTIONS, found, strict=True)},
        "early_calibration_error": {
            str(part): one["calibration_error"] for part, one in zip(FRACTIONS, found, strict=True)
        },
    }


def _batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of cases of like length, with a bounded number of tokens in a batch."""
    batches: list[NDArray[np.int64]] = []
    order = np.argsort(lengths, kind="stable")
    while len(order):
        size = max(1, int((lengths[order] * np.arange(1, len(order) + 1) <= _TOKENS).sum()))
        batches.append(order[:size])
        order = order[size:]
    return batches

"""A classifier on labelled series: metrics at the end of each, and after every tenth of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren.data import CaseSet
from aaren.errors import DataError
from aaren.evaluation._class_metrics import accuracy, class_metrics
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
        rows = np.ceil(np.outer(lengths[chosen], FRACTIONS) - 1e-9).astype(np.int64) - 1
        if not bool(said.logits[batch["mask"]].isfinite().all()):
            number = int(chosen[int((~said.logits.isfinite()).flatten(1).any(1).nonzero()[0])]) + 1
            raise DataError(
                f"expected cases that the model can take, received case {number}, after which no answer is a number; "
                "its numbers are far beyond those of the training data: mark them as missing",
                source=cases.source,
            )
        result[chosen] = np.take_along_axis(said.logits.float().cpu().numpy(), rows[..., None], axis=1)
    return result


def evaluate_cases(model: Classifier, cases: CaseSet) -> dict[str, Any]:
    """Accuracy, log loss and calibration error at the end of each case, confusion, and accuracy after every tenth.

    Args:
        model: the classifier.
        cases: read with the model's classes; cases without a class are an error.

    Returns:
        Plain data, as `class_metrics`, and "early": accuracies by fraction of the series, "0.1" to "1.0".

    Raises:
        DataError: a case has no class, or the cases are not of the kind that the model was trained on.
    """
    if (cases.labels < 0).any():
        number = int(np.argmax(cases.labels < 0)) + 1
        raise DataError(f"expected a class for every case, received none for case {number}", source=cases.source)
    logits = case_logits(model, cases)
    assert model.preprocessing is not None, "case_logits has refused it"
    early = {str(part): accuracy(logits[:, index], cases.labels) for index, part in enumerate(FRACTIONS)}
    return {**class_metrics(logits[:, -1], cases.labels, model.preprocessing.temperature), "early": early}


def _batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of cases of like length, with a bounded number of tokens in a batch."""
    batches: list[NDArray[np.int64]] = []
    order = np.argsort(lengths, kind="stable")
    while len(order):
        size = max(1, int((lengths[order] * np.arange(1, len(order) + 1) <= _TOKENS).sum()))
        batches.append(order[:size])
        order = order[size:]
    return batches

"""The classes of whole series, in one pass."""

from __future__ import annotations

import torch

from aaren.data import CaseSet
from aaren.evaluation import case_logits
from aaren.models import Classifier
from aaren.streaming._classifier import ClassPrediction, make_class_prediction


def classify(model: Classifier, cases: CaseSet) -> list[ClassPrediction]:
    """What a stream says after the last row of every case.

    Args:
        model: a trained classifier.
        cases: read with the model's classes; their own classes are not looked at.

    Returns:
        A `ClassPrediction` for each case.

    Raises:
        DataError: the cases are not of the kind that the model was trained on.
        ValueError: the model has no preprocessing.
    """
    logits = torch.from_numpy(case_logits(model, cases)[:, -1])
    lengths = cases.lengths.tolist()
    return [make_class_prediction(model, one, rows, rows) for one, rows in zip(logits, lengths, strict=True)]

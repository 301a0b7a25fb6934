"""What counts in each setting, and by how much two encoders may differ and still be called equivalent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """The metric that a setting is judged by.

    Args:
        name: in the records.
        title: in tables.
        higher_is_better: its direction.
        margin: the largest difference between two encoders that is called equivalence. It was fixed before any of the
            recorded runs.
        untaught: a simple way that has learned nothing of the data's order, and the share of its value that a model
            must beat to have learned something.
        relative: whether the margin is a share of the Transformer's value rather than in units of the metric.
        digits: in tables.
        others: further metrics of the records, as name and title.
    """

    name: str
    title: str
    higher_is_better: bool
    margin: float
    untaught: tuple[str, float]
    relative: bool = False
    digits: int = 4
    others: tuple[tuple[str, str], ...] = ()

    def margin_for(self, reference: float) -> float:
        """The margin in units of the metric, next to a Transformer of that value."""
        return self.margin * abs(reference) if self.relative else self.margin

    def worse_by(self, value: float, reference: float) -> float:
        """How much worse a value is than the reference, in margins: 1 is just not equivalent, below 0 is better."""
        difference = reference - value if self.higher_is_better else value - reference
        return difference / self.margin_for(reference)


METRICS = {
    "forecasting": Metric("mse", "MSE", False, 0.05, ("last value", 1.0), relative=True, others=(("mae", "MAE"),)),
    "classification": Metric(
        "accuracy",
        "accuracy",
        True,
        0.02,
        ("most frequent class", 1.0),
        others=(("log_loss", "log loss"), ("calibration_error", "calibration error")),
    ),
    "events": Metric(
        "nll",
        "NLL per event",
        False,
        0.05,
        ("Poisson", 1.0),
        others=(
            ("nll_time", "of the time"),
            ("nll_mark", "of the mark"),
            ("rmse", "RMSE of the time"),
            ("accuracy", "accuracy of the mark"),
            ("ks", "KS distance of rescaled times"),
        ),
    ),
    "rl": Metric(
        "score",
        "normalised score",
        True,
        5.0,
        ("the data's own episodes", 0.5),
        digits=1,
        others=(("score_streamed", "streamed"), ("return", "return"), ("return_streamed", "return, streamed")),
    ),
}

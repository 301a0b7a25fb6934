"""What a cluster needs for so many streams, calculated from the figures of a run of `engine.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

STREAMS = (10**6, 10**7, 10**8, 10**9)
IN_A_BUCKET, CORES_OF_A_MACHINE, IN_USE = 300, 16, 0.6
"""Streams in a bucket; cores of a machine; the part of a core that may be in use, which leaves room to catch up."""


def plan(figures: Mapping[str, Any], streams: int, interval: float, price: float) -> dict[str, float]:
    """The needs of a number of streams.

    Args:
        figures: of `engine.py`.
        streams: how many.
        interval: seconds between two rows of a stream.
        price: of a core for an hour.
    """
    events = streams / interval
    cores = math.ceil(events / (figures["dense"]["events_per_second_per_core"] * IN_USE))
    machines = math.ceil(cores / CORES_OF_A_MACHINE)
    return {
        "streams": streams,
        "events_per_second": events,
        "state_bytes": streams * figures["record_bytes"],
        "checkpoint_bytes": streams * figures["checkpoint_bytes_per_stream"],
        "buckets": math.ceil(streams / IN_A_BUCKET),
        "cores": cores,
        "machines": machines,
        "cost_of_a_month": machines * CORES_OF_A_MACHINE * price * 730,
    }


def print_plan(figures: Mapping[str, Any], interval: float, price: float) -> None:
    """The plan as a table in Markdown."""
    print("| streams | events/s | state | checkpoint | buckets | cores | machines | cost of a month |")
    print("|---|---|---|---|---|---|---|---|")
    for streams in STREAMS:
        found = plan(figures, streams, interval, price)
        cells = [f"{streams:,}", f"{found['events_per_second']:,.0f}"]
        cells += [f"{found[name] / 1e9:,.1f} GB" for name in ("state_bytes", "checkpoint_bytes")]
        cells += [f"{found[name]:,.0f}" for name in ("buckets", "cores", "machines", "cost_of_a_month")]
        print("| " + " | ".join(cells) + " |")

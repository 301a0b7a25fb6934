"""Whether a file is one that a model's record names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def note_other_data(metadata: dict[str, Any], data: Path, sha256: str | None) -> None:
    """Say on standard error if a file has other bytes than those that the model was trained and tested with.

    That is no mistake, but a changed file of the same name would be one. No checksum covers the record, so it may hold
    anything; without a digest in it there is nothing to say.

    Args:
        metadata: of the model.
        data: the file.
        sha256: its digest.
    """
    known = metadata.get("data")
    known = known if isinstance(known, dict) else {}
    trained = known.get("sha256")
    parts = [part.get("sha256") for part in known.values() if isinstance(part, dict)]
    if sha256 is None or not isinstance(trained, str) or sha256 in (trained, known.get("test_sha256"), *parts):
        return
    print(
        f"aaren: {data} (SHA-256 {sha256[:12]}) is not the file that the model was trained on, {known.get('source')} "
        f"(SHA-256 {trained[:12]})",
        file=sys.stderr,
    )


def note_other_parts(
    metadata: dict[str, Any],
    sha256: str | None,
    part: str,
    chosen: tuple[float, ...],
    trained: tuple[float, ...] | None,
) -> None:
    """Say on standard error if a file of the training is split otherwise than there.

    Args:
        metadata: of the model.
        sha256: digest of the file.
        part: that is to be evaluated.
        chosen: the split.
        trained: that of the training.
    """
    known = metadata.get("data")
    if sha256 is not None and isinstance(known, dict) and known.get("sha256") == sha256 and chosen != trained:
        print(
            "aaren: --split: the training had other parts of this file; the model may have learned from rows of the "
            f"{part} part",
            file=sys.stderr,
        )

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


def note_learned(part: str) -> None:
    """Say on standard error that a part is not as in the training, which may have learned from it."""
    print(
        f"aaren: --split: the training had other parts of this file, and saw some of what is the {part} part here",
        file=sys.stderr,
    )

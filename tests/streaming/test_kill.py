"""The script that kills writers, in short; `python tests/kill.py --kills 1000` is the long form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks its writers")
def test_no_row_is_lost_and_none_applied_twice() -> None:
    """Killed twelve times at random instants, the streams say what streams say that nobody killed, bit for bit."""
    script = Path(__file__).parents[1] / "kill.py"
    command = [sys.executable, str(script), "--kills", "12", "--keys", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 12
    assert found["rows"] > 0
    assert found["predictions"] > 0

"""The scripts about the service, in short; each says at its head how to run its long form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def last_line(script, *options):
    """The JSON object with which a script ends, in exit code 0."""
    done = subprocess.run([sys.executable, TESTS / script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks its services")
def test_a_killed_service_loses_no_row():
    """Killed eight times at random, the service has every row that was answered, once, and no answer is wrong."""
    found = last_line("kill_service.py", "--kills", "8", "--keys", "6")
    assert found["kills"] == 8
    assert found["rows"] > 0
    assert found["predictions"] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the script reads the memory of a process in /proc")
def test_idle_connections_in_a_process_of_its_own():
    """Two hundred idle connections are all taken, others are answered meanwhile, and the service closes them."""
    found = last_line("serving/idle_connections.py", "--connections", "200")
    assert (found["connections"], found["refused"]) == (200, 0)
    assert found["megabytes"]["open"] < found["megabytes"]["before"] + 100

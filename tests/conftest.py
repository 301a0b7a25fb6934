"""What every test relies on."""

from __future__ import annotations

import signal

import pytest

collect_ignore = ["kill_service.py"]  # a script, which finds the one beside it as scripts do


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """Ctrl-C interrupts, as in a terminal; a run that was started in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

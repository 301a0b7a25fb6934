"""What every test relies on."""

from __future__ import annotations

import faulthandler
import os
import signal

import pytest

LAST_WORDS = pytest.StashKey[int]()
collect_ignore = ["kill_service.py"]  # a script, which finds the one beside it as scripts do


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """Ctrl-C interrupts, as in a terminal; a run that was started in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the place for last words, of before output is captured."""
    config.stash[LAST_WORDS] = os.dup(2)


@pytest.fixture(autouse=True)
def a_crash_says_where(pytestconfig: pytest.Config) -> None:
    """A fault of native code prints its stack; a training undoes that, since its trainer resets every signal."""
    faulthandler.disable()  # or it would believe that its handlers are there
    faulthandler.enable(pytestconfig.stash[LAST_WORDS])

"""Which version of the code a record comes from."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import aaren


@functools.cache
def code_version() -> str:
    """The package's version, with the git commit of its source where there is one, "+" where files differ from it."""
    source = Path(aaren.__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # an installed copy that lies in somebody else's repository
            return aaren.__version__
        changed = "+" if git("status", "--porcelain", "--", ".") else ""
        return f"{aaren.__version__} {git('rev-parse', '--short=12', 'HEAD')}{changed}"
    except (OSError, subprocess.CalledProcessError):
        return aaren.__version__

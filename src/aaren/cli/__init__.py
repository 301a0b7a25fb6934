"""The command line, `aaren`; needs the extra "cli"."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: run the command line and exit with its code."""
    from aaren._standard_streams import prepare_streams

    if wrong := prepare_streams():
        print(f"aaren: {wrong}", file=sys.stderr)
        sys.exit(1)
    try:
        from aaren.cli._app import run
    except ImportError as error:
        print(
            f"aaren: the command line needs {error.name!r}; install it with: pip install 'aaren[cli]'", file=sys.stderr
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print("aaren: stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))

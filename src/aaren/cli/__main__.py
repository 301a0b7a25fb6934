"""`python -m aaren.cli`, the same as `aaren`."""

from aaren.cli import main

main()

"""The C sources of an export as a library of this process, made by the system's compiler."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from aaren.errors import BackendError

_FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared")


def compiler() -> list[str]:
    """The command of the system's C compiler: what the variable CC says, else cc, gcc or clang.

    Raises:
        BackendError: there is none.
    """
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise BackendError(f"CC: expected the command of a compiler, received {os.environ['CC']!r}, {error}") from None
    if named:
        return named
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise BackendError(
        "expected a C compiler (cc, gcc or clang) to run an export to C, found none; install one, or name it in the "
        "variable CC"
    )


def load_library(source: Path, *defines: str) -> ctypes.CDLL:
    """Compile one source for this machine and load it; the file is gone afterwards, the library stays loaded.

    Args:
        source: NAME.c, with NAME.h beside it.
        defines: of the preprocessor, such as "MODEL_DOUBLE=1".

    Raises:
        BackendError: there is no compiler, or it refuses the source.
    """
    command = [*compiler(), *_FLAGS, *(f"-D{define}" for define in defines)]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "model.so"
        for tuned in (["-march=native"], []):  # not every compiler knows this machine
            try:
                done = subprocess.run(
                    [*command, *tuned, str(source.absolute()), "-o", str(library), "-lm"],
                    capture_output=True,
                    text=True,
                    check=False,
                )
            except OSError as error:
                raise BackendError(f"{command[0]}: the C compiler does not run: {error}") from None
            if done.returncode == 0:
                return ctypes.CDLL(str(library))
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise BackendError(f"{source}: {command[0]} does not compile it: {reason}")

"""The machine that numbers are of: processor, threads, load, versions, commit; and what glibc does with freed pages."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from pathlib import Path

import torch

import aaren
from aaren.ops import backends


def keep_memory() -> None:
    """Let glibc keep what is freed, whatever its size, instead of handing it back and asking for it anew.

    Raises:
        OSError: the C library is another one.
    """
    mmap_max, trim_threshold = -4, -1  # names of malloc.h
    libc = ctypes.CDLL("libc.so.6")
    if not (libc.mallopt(mmap_max, 0) and libc.mallopt(trim_threshold, 2**31 - 1)):
        raise OSError("mallopt: expected 1 for success, received 0; run without --keep-memory")


def fastest_backend() -> str:
    """The name of the backend that "auto" is here."""
    return next(b.name for b in backends() if b.runs_on(torch.device("cpu")))


def machine() -> dict[str, object]:
    """CPU, threads, load and versions: without them a time says nothing."""
    here = torch.device("cpu")
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "aaren": aaren.__version__,
        "commit": commit(Path(aaren.__file__).parent),
        "auto": fastest_backend(),
        "backends": [b.name for b in backends() if b.runs_on(here)],
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit(folder: Path) -> str | None:
    """The git commit that `folder` is checked out at, "+" behind it if files differ from it; None outside git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None

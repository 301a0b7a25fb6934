"""`aaren serve` before it serves: tokens, refusals, the missing extra."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_tokens_are_made(aaren: Command, tmp_path: Path) -> None:
    """--new-token prints a token once and appends its digest."""
    path = tmp_path / "tokens"
    first, second = (aaren("serve", "--tokens", path, "--new-token", name) for name in ("north", "south"))
    assert (first.code, second.code, first.err) == (0, 0, "")
    assert len(first.out.strip()) >= 43
    lines = path.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["north", "south"]
    assert first.out.strip() not in path.read_text()


def test_refusals(aaren: Command, trained: Path, tmp_path: Path) -> None:
    """What cannot be served is refused in one line before anything listens."""
    missing = tmp_path / "missing"
    assert "model directory" in aaren("serve").refusal()
    assert "no such model" in aaren("serve", missing).refusal()
    assert "--new-token" in aaren("serve", trained, "--host", "0.0.0.0").refusal()
    assert str(missing) in aaren("serve", trained, "--tokens", missing).refusal()
    assert "--tokens FILE" in aaren("serve", "--new-token", "a").refusal()
    for port in ("99999", "-1"):
        assert "--port: expected a number from 0 to 65535" in aaren("serve", trained, f"--port={port}").refusal()
    assert "aaren: --max-batch: expected" in aaren("serve", trained, "--max-batch", "0").refusal()
    assert "capacity" in aaren("serve", trained, "--capacity", "0", "--port", "0").refusal()
    assert "on-bad-row" in aaren("serve", trained, "--on-bad-row", "guess").refusal()


def test_a_port_in_use(aaren: Command, trained: Path) -> None:
    """An address that is taken is named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1 port {port}" in aaren("serve", trained, "--port", port).refusal()


def test_a_store_of_another_model(aaren: Command, trained: Path, tmp_path: Path) -> None:
    """A folder that is no store of this model is refused, and its files stay."""
    folder = tmp_path / "store"
    folder.write_text("a file")
    assert str(folder) in aaren("serve", trained, "--store", folder, "--port", "0").refusal()
    assert folder.read_text() == "a file"


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_without_the_extra(package: str, trained: Path) -> None:
    """Without the packages the command says in one line what to install."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['aaren', 'serve', {str(trained)!r}]; "
        "from aaren.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr == f"aaren: a service needs the package {package!r}; install it with: pip install 'aaren[serve]'\n"
    )

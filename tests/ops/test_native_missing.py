"""Without the compiled module the package works all the same, and says what is missing to those who ask."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

ABSENT = 'sys.modules["aaren._native"] = None'
BROKEN = """
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "aaren._native":
            raise ImportError("libgomp.so.1: cannot open shared object file")

sys.meta_path.insert(0, Broken())
"""
ASK = """
import contextlib, io, json, sys
{prepare}
import torch
from aaren.cli import main
from aaren.errors import BackendError
from aaren.nn import AarenEncoder, AarenEncoderLayer
from aaren.ops import backends, choose_backend, instruction_set, prefix_attention

scores, values = torch.randn(2, 30), torch.randn(2, 30, 4)
exact, _ = prefix_attention(scores.double(), values.double(), backend="definition")
outputs, state = prefix_attention(scores[:, :29], values[:, :29])
with torch.no_grad():
    last, _ = prefix_attention(scores[:, 29:], values[:, 29:], state)
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 8), 1).eval()
    x = torch.randn(1, 5, 8)
    together, state = encoder(x)[0], None
    for k in range(5):
        y, state = encoder.step(x[:, k], state)
try:
    prefix_attention(scores, values, backend="native")
except BackendError as error:
    refusal = str(error)

def doctor(*options):
    sys.argv, out = ["aaren", "doctor", *options], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main()
    return out.getvalue()

print(json.dumps({{
    "auto": choose_backend("auto", torch.device("cpu")).name,
    "order": [backend.name for backend in backends()],
    "instruction set": instruction_set(),
    "error": (torch.cat([outputs, last], 1) - exact).abs().max().item(),
    "error of a layer": (y - together[:, -1]).abs().max().item(),
    "refusal": refusal,
    "doctor": json.loads(doctor("--json")),
    "text": doctor(),
}}))
"""


def without_the_module(prepare: str) -> dict[str, Any]:
    """What a user sees in a process in which the compiled module cannot be imported."""
    command = [sys.executable, "-c", ASK.format(prepare=prepare)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (ABSENT, "is not in this installation"),
        (BROKEN, "does not load (libgomp.so.1: cannot open shared object file)"),
    ],
    ids=["absent", "broken"],
)
def test_without_the_compiled_module(prepare: str, reason: str) -> None:
    """Auto takes the blocks, for a call, a step and a layer; asking for the kernels raises; doctor says what to do."""
    found = without_the_module(prepare)
    assert (found["auto"], found["instruction set"]) == ("blocks", None)
    assert found["error"] < 1e-5
    assert found["error of a layer"] < 1e-5
    missing = (
        f"the compiled module aaren._native {reason}; install a C++ compiler (GCC or Clang), then run "
        "pip install --force-reinstall --no-deps . in the checkout"
    )
    assert found["refusal"] == f"backend 'native' cannot run here: {missing}; use backend='auto'"
    operator = found["doctor"]["backends of prefix_attention"]
    assert (operator["auto, here"], operator["native"]) == ("blocks", f"missing: {missing}")
    assert found["doctor"]["machine"]["instruction set"] == "none: no native kernels"
    assert f"missing: {missing}\n" in found["text"]
    assert found["order"][:2] == ["native", "blocks"]

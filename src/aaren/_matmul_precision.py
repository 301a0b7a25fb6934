"""How exactly PyTorch multiplies matrices of float32: a setting of the whole process, made for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

MatmulPrecision = Literal["highest", "high", "medium"]


@contextmanager
def matmul_precision(name: MatmulPrecision) -> Iterator[None]:
    """`torch.set_float32_matmul_precision(name)` within this context; afterwards all is as it was before.

    Args:
        name: "highest", "high" or "medium".
    """
    import torch  # not at the top: the command line shows its help without it

    parts = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in parts]
    for part in parts:
        part.fp32_precision = "ieee"  # where a program has set parts, PyTorch would refuse to tell the setting of all
    before_of_all = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before_of_all)
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision

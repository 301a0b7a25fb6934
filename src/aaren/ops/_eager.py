"""Whether a call is plain eager execution, in which a kernel may take the addresses of tensors itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)


def is_plain(*tensors: Tensor) -> bool:
    """Whether nothing compiles, traces, maps (`vmap`), wraps (a subclass) or intercepts (a mode) these tensors."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and all(type(x) in _PLAIN for x in tensors)
    )

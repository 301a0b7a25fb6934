"""Whether a call is plain eager execution, in which a kernel may take the addresses of tensors itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def is_plain(*tensors: Tensor | None) -> bool:
    """Whether nothing compiles, traces, maps (`vmap`), wraps (a subclass) or intercepts (a mode) these tensors.

    Nor is one a view that negates what it looks at, or carries a forward-mode derivative, which addresses do not and
    which `torch.no_grad` does not switch off.
    """
    return (
        not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and forward_ad._current_level < 0
        and all(x is None or (type(x) in _PLAIN and not x.is_neg()) for x in tensors)
    )

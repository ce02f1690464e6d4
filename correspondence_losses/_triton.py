"""When Triton kernels replace the plain PyTorch path."""

import importlib.util
import os
import shutil

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_SWITCH = "CORRESPONDENCE_LOSSES_TRITON"
_COMPILERS = (os.environ.get("CC", "cc"), "gcc", "clang")
_USABLE = importlib.util.find_spec("triton") is not None and any(map(shutil.which, _COMPILERS))


def use_triton(tensor: Tensor) -> bool:
    """Whether the kernels take this tensor: a CUDA tensor of up to float32, where Triton and a C compiler are there.

    With ``CORRESPONDENCE_LOSSES_TRITON=0`` in the environment they take none. ``torch.compile`` makes its own kernels
    from the plain path. With ``TRITON_INTERPRET=1`` they take CPU tensors too, in Triton's interpreter.
    """
    if torch.compiler.is_compiling() or not _USABLE or os.environ.get(_SWITCH) == "0":
        return False
    return tensor.dtype in _DTYPES and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")

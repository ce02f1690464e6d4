"""When the Triton kernels replace the plain PyTorch path."""

import os

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def use_triton(tensor: Tensor) -> bool:
    """Whether ``CORRESPONDENCE_LOSSES_TRITON=1`` asks for the kernels and they can take this tensor.

    The kernels take CUDA tensors of up to float32 or, with ``TRITON_INTERPRET=1``, CPU tensors in Triton's interpreter.
    ``torch.compile`` makes its own kernels from the plain path. They are off by default because they were checked in
    the interpreter only and never timed on a GPU.
    """
    if torch.compiler.is_compiling() or os.environ.get("CORRESPONDENCE_LOSSES_TRITON") != "1":
        return False
    return tensor.dtype in _DTYPES and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")

"""When the Triton kernels stand in for the plain PyTorch path."""

import os

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def use_triton(tensor: Tensor) -> bool:
    """Whether ``CORRESPONDENCE_LOSSES_TRITON=1`` asks for the kernels and they can take this tensor.

    They take CUDA tensors of up to float32, or, with ``TRITON_INTERPRET=1``, those of a CPU, in Triton's interpreter.
    ``torch.compile`` makes kernels of its own from the plain path. They have been checked in the interpreter and never
    been timed on a GPU, so nobody gets them unasked.
    """
    if torch.compiler.is_compiling() or os.environ.get("CORRESPONDENCE_LOSSES_TRITON") != "1":
        return False
    return tensor.dtype in _DTYPES and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")

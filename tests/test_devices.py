"""No function of the core waits for an accelerator: on meta tensors here, on CUDA where there is a GPU.

Meta tensors have no values, so whatever needs one on the host fails, in the forward as in the backward pass: ``item``,
``nonzero``, a mask as an index, ``unique``. Functions take the path of an accelerator for them.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from devices import without_the_host
from public_calls import CALLS, RANDOM, WITH_PARAMETERS, Built, moved, tensors_in
from torch import Tensor


def step_on(device: str, call: str) -> Callable[[], list[Tensor]]:
    """Forward and backward pass of a call: what it returns, and the gradients."""
    function, make = CALLS[call]
    torch.manual_seed(0)  # some arguments are random
    if isinstance(function, Built):
        with torch.device(device):
            function = function.build()
    arguments = {name: moved(value, device) for name, value in make().items()}
    leaves = [t for name, value in arguments.items() for _, t in tensors_in(value, (name,)) if t.is_floating_point()]

    def step() -> list[Tensor]:
        outputs = [tensor for _, tensor in tensors_in(function(**arguments), ())]
        differentiable = [output.sum() for output in outputs if output.requires_grad]
        if not differentiable:
            return outputs
        gradients = torch.autograd.grad(sum(differentiable), leaves, allow_unused=True)
        return [output.detach() for output in outputs] + [grad for grad in gradients if grad is not None]

    return step


@pytest.mark.parametrize("call", CALLS)
def test_needs_nothing_of_the_host(call: str) -> None:
    step = step_on("meta", call)
    with without_the_host():
        results = step()
    assert results
    assert all(result.is_meta for result in results)


@pytest.mark.parametrize(
    "offence",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x + torch.tensor([1.0]).to(x.device),
        lambda x: x.cpu(),
    ],
)
def test_what_needs_the_host_is_found(offence: Callable[[Tensor], Any]) -> None:
    with without_the_host(), pytest.raises((RuntimeError, NotImplementedError)):
        offence(torch.empty(3, device="meta"))


@pytest.mark.gpu
@pytest.mark.parametrize("call", CALLS)
def test_no_synchronisation_on_a_gpu(call: str) -> None:
    step = step_on("cuda", call)
    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("call", CALLS)
def test_a_cuda_graph_computes_the_same(call: str) -> None:
    step = step_on("cuda", call)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        expected = step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    graph.replay()
    torch.cuda.synchronize()
    if call not in WITH_PARAMETERS | RANDOM:
        for result, wanted in zip(results, expected, strict=True):
            torch.testing.assert_close(result, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("call", [call for call in CALLS if call not in WITH_PARAMETERS | RANDOM])
def test_equals_the_cpu(call: str) -> None:
    for result, wanted in zip(step_on("cuda", call)(), step_on("cpu", call)(), strict=True):
        torch.testing.assert_close(result.cpu(), wanted, rtol=1e-4, atol=1e-5)

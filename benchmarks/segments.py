"""The segment terms beside a loop over masks, scattered additions, and the compiled plain path."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.workload import Case, Workload, copying, gradient_step, seeded
from correspondence_losses import SegmentRegularizationLoss

_BETA = 0.5


def against_loop(channels: int, height: int, width: int, segments: int) -> Case:
    """The usual way: select the pixels of one mask after the other."""
    features, labels = _inputs(channels, height, width, segments)

    def loss() -> Tensor:
        means, squares = [], []
        for label in range(1, segments + 1):
            pixels = features[0][:, labels[0] == label]
            means.append(pixels.mean(dim=1))
            squares.append((pixels - means[-1][:, None]).square().sum(dim=1))
        return _loss(torch.stack(means, dim=1), torch.stack(squares, dim=1), height * width)

    return _case(features, labels, segments, loss)


def against_index_add(channels: int, height: int, width: int, segments: int) -> Case:
    """All masks at once by ``index_add``, the residuals by ``index_select``."""
    features, labels = _inputs(channels, height, width, segments)
    index, zeros = labels.flatten() - 1, torch.zeros(channels, segments)
    counts = zeros[0].index_add(0, index, torch.ones(len(index)))

    def loss() -> Tensor:
        pixels = features[0].flatten(1)
        means = zeros.index_add(1, index, pixels) / counts
        residuals = pixels - means.index_select(1, index)
        return _loss(means, zeros.index_add(1, index, residuals.square()), height * width)

    return _case(features, labels, segments, loss)


def against_scatter_reduce(channels: int, height: int, width: int, segments: int) -> Case:
    """All masks at once by ``scatter_reduce``, the residuals by ``gather``."""
    features, labels = _inputs(channels, height, width, segments)
    index, zeros = (labels.flatten() - 1).expand(channels, -1), torch.zeros(channels, segments)

    def loss() -> Tensor:
        pixels = features[0].flatten(1)
        means = zeros.scatter_reduce(1, index, pixels, reduce="mean", include_self=False)
        residuals = pixels - means.gather(1, index)
        return _loss(means, zeros.scatter_reduce(1, index, residuals.square(), reduce="sum"), height * width)

    return _case(features, labels, segments, loss)


def triton_against_compiled(channels: int, height: int, width: int, segments: int) -> Case:
    """The Triton kernels beside the plain path under ``torch.compile``."""
    features, labels = _inputs(channels, height, width, segments)
    compiled = torch.compile(_criterion(segments))
    return _case(features, labels, segments, lambda: compiled(features, labels))


def _inputs(channels: int, height: int, width: int, segments: int) -> tuple[Tensor, Tensor]:
    """Features, and regions of about equal area: blocks of 8 x 8 pixels go to the nearest of random centres."""
    generator = seeded()
    rows, columns = height // 8, width // 8
    blocks = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    centres = blocks[torch.randperm(len(blocks), generator=generator)[:segments]]
    labels = 1 + torch.cdist(blocks, centres).argmin(dim=1).view(1, rows, columns)
    labels = labels.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    return torch.randn(1, channels, height, width, generator=generator, requires_grad=True), labels


def _case(features: Tensor, labels: Tensor, segments: int, peer: Callable[[], Tensor]) -> Case:
    ours = _criterion(segments)
    return Case(
        gradient_step(lambda: ours(features, labels), [features]),
        gradient_step(peer, [features]),
        lambda: copying([features]),
    )


def _criterion(segments: int) -> SegmentRegularizationLoss:
    return SegmentRegularizationLoss(beta=_BETA, num_segments=segments + 1)


def _loss(means: Tensor, squares: Tensor, pixels: int) -> Tensor:
    """Equations 4.4 and 4.5 of means and squared deviations (d, s), with all S x S differences."""
    s = means.shape[1]
    hinges = (_BETA - (means[:, :, None] - means[:, None, :]).abs()).relu().sum(dim=(1, 2)) - s * _BETA
    return (squares.sum(dim=1) / pixels + hinges / (s * (s - 1))).mean()


_QUICK = {"channels": 4, "height": 16, "width": 24, "segments": 3}


def _workload(name: str, peer: str, build: object, channels: int, target: float | None, **rest: object) -> Workload:
    return Workload(
        name=f"segments-{channels}-{name}",
        title="segment terms, {channels} channels, {height} x {width}, {segments} segments",
        peer=peer,
        build=build,
        sizes={"channels": channels, "height": 480, "width": 640, "segments": 60},
        quick=_QUICK,
        floor="one copy of the features",
        ratio_target=target,
        **rest,
    )


WORKLOADS = [
    _workload("loop", "loop over masks", against_loop, 256, 40, floor_target=4),
    _workload("index-add", "index_add", against_index_add, 256, None),
    _workload("scatter-reduce", "scatter_reduce", against_scatter_reduce, 256, None),
    _workload("loop", "loop over masks", against_loop, 3, 10),
    _workload("index-add", "index_add", against_index_add, 3, 1),
    *(
        _workload("triton", "the plain path, compiled", triton_against_compiled, channels, None, cuda_only=True)
        for channels in (256, 3)
    ),
]

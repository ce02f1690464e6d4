"""Two real processes, each with half of the batch, against one with all of it, for every loss that gathers."""

from collections.abc import Callable

import pytest
import torch
from ranks import RANKS, on_each_rank
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from correspondence_losses import _distributed
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses.correspond import Matches, ViewGrid
from correspondence_losses.losses import (
    CORALLoss,
    LeJEPALoss,
    MatchedVICRegLoss,
    MMDLoss,
    PrototypeAlignmentLoss,
    SegmentContrastiveLoss,
    SIGRegLoss,
    VICRegLLoss,
    VICRegLoss,
)

IMAGES = 4


class WithEncoder(nn.Module):
    """A loss behind parameters, as DistributedDataParallel sees it in training."""

    def __init__(self, compute: Callable[[nn.Module, dict[str, Tensor]], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Conv2d(3, 5, 1).double()
        self.compute = compute

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.compute(self.encoder, batch)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    draw = {"generator": generator, "dtype": torch.float64}
    corner = 20 * torch.rand(IMAGES, 3, 2, **draw)
    return {
        "large": torch.randn(IMAGES, 2, 3, 4, 4, **draw),
        "small": torch.randn(IMAGES, 3, 2, 2, **draw),
        "boxes": torch.cat((corner, corner + 40), dim=-1),
        "index_a": torch.randint(16, (IMAGES, 6), generator=generator),
        "index_b": torch.randint(4, (IMAGES, 6), generator=generator),
        "valid": torch.rand(IMAGES, 6, generator=generator) < 0.6,
        "segments": torch.randint(4, (IMAGES, 2, 4, 4), generator=generator),
    }


def vicreg(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    z1, z2 = (encoder(batch["large"][:, view]).mean((2, 3)) for view in range(2))
    return VICRegLoss(gather=True)(z1, z2)


def matched_vicreg(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    matches = Matches(batch["index_a"], batch["index_b"], batch["valid"], batch["valid"].double())
    return MatchedVICRegLoss(gather=True)(encoder(batch["large"][:, 0]), encoder(batch["small"]), matches)


def vicregl(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    maps = [encoder(batch["large"][:, 0]), encoder(batch["large"][:, 1]), encoder(batch["small"])]
    grids = [ViewGrid.from_boxes(batch["boxes"][:, view], maps[view].shape[2:]) for view in range(3)]
    # One kind of grid without a mask, one with.
    grids[2] = ViewGrid.from_points(grids[2].points, grids[2].points[..., 0] > 30)
    return VICRegLLoss(gather=True)([view.mean((2, 3)) for view in maps], maps, grids)


def segment_contrastive(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    a, b = (encoder(batch["large"][:, view]) for view in range(2))
    segments_a, segments_b = batch["segments"].unbind(1)
    return SegmentContrastiveLoss(num_segments=4, gather=True)(a, segments_a, b, segments_b)


def lejepa(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    z1, z2 = (encoder(batch["large"][:, view]).movedim(1, -1) for view in range(2))
    valid = batch["segments"][:, 0] > 0
    directions = nn.functional.normalize(torch.arange(15.0, dtype=torch.float64).view(5, 3).cos(), dim=0)
    return LeJEPALoss(gather=True)(z1, z2, valid=valid, directions=directions) + SIGRegLoss(gather=True)(
        z1, directions=directions
    )


def prototype_alignment(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    a, b = (encoder(batch["large"][:, view]) for view in range(2))
    segments_a, segments_b = batch["segments"].unbind(1)
    return PrototypeAlignmentLoss(num_segments=4, gather=True)(a, segments_a, b, segments_b)


def between_sets(loss: nn.Module) -> Callable[[nn.Module, dict[str, Tensor]], Tensor]:
    def compute(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        source, target = (encoder(batch["large"][:, view]).mean((2, 3)) for view in range(2))
        return loss(source, 2 * target)

    return compute


LOSSES = {
    "LeJEPALoss and SIGRegLoss": lejepa,
    "VICRegLoss": vicreg,
    "MatchedVICRegLoss": matched_vicreg,
    "VICRegLLoss": vicregl,
    "SegmentContrastiveLoss": segment_contrastive,
    "PrototypeAlignmentLoss": prototype_alignment,
    "CORALLoss": between_sets(CORALLoss(gather=True)),
    "MMDLoss": between_sets(MMDLoss(gather=True)),
}


def gather_of_each_kind(rank: int) -> dict[str, Tensor]:
    rows = torch.arange(6.0).view(3, 2) + 10 * rank
    return {
        "float": gather_across_ranks(rows.requires_grad_(), dim=1).detach(),
        "int": gather_across_ranks(rows.long()),
        "bool": gather_across_ranks(rows > 5, dim=1),
    }


def scattered(mine: dict[str, Tensor]) -> list[Tensor] | None:
    """The gradients of VICReg where the backend sums and scatters at once; None where this gloo cannot."""
    model = DistributedDataParallel(WithEncoder(vicreg))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_distributed, "_scatters", lambda: True)
        try:
            model(mine).backward()
        except RuntimeError as error:
            if "reduce_scatter" not in str(error):
                raise
            return None
    return [parameter.grad for parameter in model.parameters()]


def worker(rank: int) -> dict[str, object]:
    share = IMAGES // RANKS
    mine = {name: values[rank * share : (rank + 1) * share] for name, values in batch().items()}
    results: dict[str, object] = {"gathered": gather_of_each_kind(rank)}
    for name, compute in LOSSES.items():
        model = DistributedDataParallel(WithEncoder(compute))
        loss = model(mine)
        loss.backward()
        results[name] = (loss.detach(), [parameter.grad for parameter in model.parameters()])
    results["scattered"] = scattered(mine)
    compiled = torch.compile(VICRegLoss(gather=True), fullgraph=True, backend="aot_eager")
    z1, z2 = (mine["large"][:, view].mean((2, 3)) for view in range(2))
    results["compiled"] = (compiled(z1, z2), VICRegLoss(gather=True)(z1, z2))
    return results


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_each_rank(worker, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", LOSSES)
def test_equals_one_process_with_the_whole_batch(of_ranks, name):
    model = WithEncoder(LOSSES[name])
    loss = model(batch())
    loss.backward()
    assert loss > 0
    for results in of_ranks:
        of_rank, grads = results[name]
        torch.testing.assert_close(of_rank, loss.detach())
        for grad, parameter in zip(grads, model.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad)


def test_scattered_sums_are_the_same_gradients(of_ranks):
    for results in of_ranks:
        if results["scattered"] is None:
            pytest.skip("this version of gloo has no reduce_scatter")
        for grad, expected in zip(results["scattered"], results["VICRegLoss"][1], strict=True):
            torch.testing.assert_close(grad, expected)


def test_gathers_in_the_order_of_the_ranks(of_ranks):
    rows = [torch.arange(6.0).view(3, 2) + 10 * rank for rank in range(RANKS)]
    for results in of_ranks:
        assert torch.equal(results["gathered"]["float"], torch.cat(rows, dim=1))
        assert torch.equal(results["gathered"]["int"], torch.cat(rows).long())
        assert torch.equal(results["gathered"]["bool"], torch.cat(rows, dim=1) > 5)


def test_compiles_whole_across_ranks(of_ranks):
    for results in of_ranks:
        torch.testing.assert_close(*results["compiled"])

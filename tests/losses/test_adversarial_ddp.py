"""A discriminator in DistributedDataParallel: two real processes, each with half of the batch, against one with all."""

import pytest
import torch
from ranks import RANKS, on_each_rank
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.parametrizations import spectral_norm

from correspondence_losses.blocks import FeatureDiscriminator, MultiLevelDiscriminator
from correspondence_losses.losses import LSGANLoss, MinimaxLoss

IMAGES = 4


def single() -> nn.Module:
    torch.manual_seed(0)
    return FeatureDiscriminator(4, channels=32).double()


def several() -> nn.Module:
    torch.manual_seed(0)
    return MultiLevelDiscriminator((4, 4), num_downsamples=(2, 1), channels=32).double()


def with_batch_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3)).double()


def with_spectral_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(spectral_norm(nn.Conv2d(4, 8, 3)), nn.LeakyReLU(), nn.Conv2d(8, 1, 3, bias=False)).double()


WITH_BUFFERS = {"batch normalisation": with_batch_norm, "spectral normalisation": with_spectral_norm}
GAMES = {
    "LSGANLoss": (LSGANLoss(), single),
    "LSGANLoss, several levels": (LSGANLoss(), several),
    "MinimaxLoss": (MinimaxLoss(saturating=False), single),
}


def features(make: object) -> tuple[list[Tensor] | Tensor, list[Tensor] | Tensor]:
    generator = torch.Generator().manual_seed(1)
    levels = [torch.randn(2, IMAGES, 4, size, size, generator=generator, dtype=torch.float64) for size in (12, 6)]
    source, target = zip(*(level.unbind() for level in levels), strict=True)
    return (list(source), list(target)) if make is several else (source[0], target[0])


def part(maps: list[Tensor] | Tensor, rank: int) -> list[Tensor] | Tensor:
    if isinstance(maps, Tensor):
        return maps.chunk(RANKS)[rank].clone().requires_grad_()
    return [part(level, rank) for level in maps]


def leaves(maps: list[Tensor] | Tensor) -> list[Tensor]:
    return [maps] if isinstance(maps, Tensor) else maps


def worker(rank: int) -> dict[str, object]:
    results: dict[str, object] = {}
    for name, (game, make) in GAMES.items():
        discriminator = DistributedDataParallel(make())
        source, target = (part(maps, rank) for maps in features(make))
        for _ in range(2):  # a second step fails where the first left the wrapper waiting
            discriminator.zero_grad()
            for leaf in leaves(target):
                leaf.grad = None
            terms = game.terms(discriminator, source, target)
            sum(terms).backward()
        results[name] = (
            [term.detach() for term in terms],
            [parameter.grad for parameter in discriminator.module.parameters()],
            [leaf.grad for leaf in leaves(target)],
            [leaf.grad for leaf in leaves(source)],
        )
    # One player after the other.
    discriminator = DistributedDataParallel(single())
    source, target = (part(maps, rank) for maps in features(single))
    for _ in range(2):
        discriminator.zero_grad()
        target.grad = None
        LSGANLoss().generator_loss(discriminator, target).backward()
        untouched = all(parameter.grad is None for parameter in discriminator.parameters())
        LSGANLoss().discriminator_loss(discriminator, source, target).backward()
    results["in turn"] = (untouched, [parameter.grad for parameter in discriminator.module.parameters()], target.grad)
    for name, make in WITH_BUFFERS.items():  # DDP copies the buffers from rank 0 before each call of the wrapper
        discriminator = DistributedDataParallel(make())
        for _ in range(2):
            discriminator.zero_grad()
            LSGANLoss()(discriminator, source.detach(), target.detach().requires_grad_()).backward()
        results[name] = [parameter.grad for parameter in discriminator.module.parameters()]
    return results


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_each_rank(worker, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", GAMES)
def test_equals_one_process_with_the_whole_batch(of_ranks: list[dict], name: str) -> None:
    game, make = GAMES[name]
    discriminator = make()
    source, target = (
        maps.clone().requires_grad_() if isinstance(maps, Tensor) else [m.clone().requires_grad_() for m in maps]
        for maps in features(make)
    )
    terms = game.terms(discriminator, source, target)
    sum(terms).backward()
    for term, of_parts in zip(terms, zip(*(results[name][0] for results in of_ranks), strict=True), strict=True):
        torch.testing.assert_close(torch.stack(of_parts).mean(), term.detach())
    for results in of_ranks:
        for grad, parameter in zip(results[name][1], discriminator.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad)
        assert all(grad is None for grad in results[name][3])
    for level, of_parts in zip(
        leaves(target), zip(*(results[name][2] for results in of_ranks), strict=True), strict=True
    ):
        # Each rank's mean is over its own share of the batch.
        torch.testing.assert_close(torch.cat(of_parts) / RANKS, level.grad)


def test_the_two_players_in_turn(of_ranks: list[dict]) -> None:
    for results in of_ranks:
        untouched, grads, of_target = results["in turn"]
        assert untouched
        for grad, expected in zip(grads, results["LSGANLoss"][1], strict=True):
            torch.testing.assert_close(grad, expected)
        torch.testing.assert_close(of_target, results["LSGANLoss"][2][0])


@pytest.mark.parametrize("name", WITH_BUFFERS)
def test_discriminators_with_buffers(of_ranks: list[dict], name: str) -> None:
    """Batch and spectral normalisation: every parameter has a gradient, and the same on both ranks."""
    for first, second in zip(*(results[name] for results in of_ranks), strict=True):
        assert first.abs().sum() > 0
        torch.testing.assert_close(first, second)

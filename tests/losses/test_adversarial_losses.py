import pickle

import pytest
import torch

from correspondence_losses.blocks import FeatureDiscriminator, MultiLevelDiscriminator
from correspondence_losses.functional import (
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
)
from correspondence_losses.losses import LSGANLoss, MinimaxLoss

OBJECTIVES = [
    (LSGANLoss(), lsgan_generator_loss, lsgan_discriminator_loss),
    (MinimaxLoss(), minimax_generator_loss, minimax_discriminator_loss),
    (
        MinimaxLoss(saturating=False),
        lambda fake: minimax_generator_loss(fake, saturating=False),
        minimax_discriminator_loss,
    ),
]


def levels(requires_grad=True):
    return [torch.randn(2, 4, size, size + 1, requires_grad=requires_grad) for size in (3, 5, 9)]


@pytest.fixture
def discriminator():
    torch.manual_seed(0)
    return MultiLevelDiscriminator((4, 4, 4), channels=32)


@pytest.mark.parametrize(("criterion", "generator", "judge"), OBJECTIVES)
def test_equals_the_functions_summed_over_levels(discriminator, criterion, generator, judge):
    source, target = levels(), levels()
    real, fake = discriminator(source), discriminator(target)
    terms = criterion.terms(discriminator, source, target)
    torch.testing.assert_close(terms.generator, sum(generator(scores) for scores in fake))
    torch.testing.assert_close(terms.discriminator, sum(judge(r, f) for r, f in zip(real, fake, strict=True)))
    torch.testing.assert_close(criterion(discriminator, source, target), terms.generator + terms.discriminator)


def test_running_statistics_count_each_domain_once():
    discriminator = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 1))
    source, target = levels()[1], levels()[2]
    before = {name: buffer.clone() for name, buffer in discriminator.named_buffers()}
    LSGANLoss().generator_loss(discriminator, target)
    for name, buffer in discriminator.named_buffers():
        assert torch.equal(buffer, before[name])
    LSGANLoss()(discriminator, source, target).backward()
    assert discriminator[0].num_batches_tracked == 2


@pytest.mark.parametrize(("criterion", "generator", "judge"), OBJECTIVES)
def test_one_backward_gives_each_player_its_own_gradient(discriminator, criterion, generator, judge):
    source, target = levels(), levels()
    parameters = list(discriminator.parameters())
    scores = discriminator(target)
    expected_features = torch.autograd.grad(sum(generator(s) for s in scores), target)
    detached = [[level.detach() for level in maps] for maps in (source, target)]
    real, fake = discriminator(detached[0]), discriminator(detached[1])
    expected_parameters = torch.autograd.grad(sum(judge(r, f) for r, f in zip(real, fake, strict=True)), parameters)

    criterion(discriminator, source, target).backward()
    assert all(level.grad is None for level in source)
    for level, expected in zip(target, expected_features, strict=True):
        torch.testing.assert_close(level.grad, expected)
    for parameter, expected in zip(parameters, expected_parameters, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    assert all(parameter.requires_grad for parameter in parameters)


def test_a_single_discriminator_serves():
    discriminator = FeatureDiscriminator(4, channels=32)
    source, target = (torch.randn(2, 4, 6, 6) for _ in range(2))
    loss = LSGANLoss().discriminator_loss(discriminator, source, target)
    torch.testing.assert_close(loss, lsgan_discriminator_loss(discriminator(source), discriminator(target)))


def test_the_game_brings_the_domains_together():
    """Two domains that differ by a shift, and a network that can only shift: it moves the one to the other."""
    torch.manual_seed(0)
    shift = torch.nn.Parameter(torch.full((1, 4, 1, 1), 2.0))
    discriminator = FeatureDiscriminator(4, num_downsamples=0, channels=32)
    network_optimizer = torch.optim.Adam([shift], lr=2e-2)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=5e-3)
    path = []
    for _ in range(250):
        loss = LSGANLoss()(discriminator, torch.randn(8, 4, 4, 4), torch.randn(8, 4, 4, 4) + shift)
        network_optimizer.zero_grad()
        discriminator_optimizer.zero_grad()
        loss.backward()
        network_optimizer.step()
        discriminator_optimizer.step()
        path.append(shift.detach().abs().mean().item())
    assert sum(path[-50:]) / 50 < 0.5  # the game goes round its goal: its mean distance counts


def test_single_graph_and_pickle(discriminator):
    criterion = pickle.loads(pickle.dumps(MinimaxLoss(saturating=False)))  # noqa: S301
    source, target = levels(), levels()
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    loss = compiled(discriminator, source, target)
    torch.testing.assert_close(loss, criterion(discriminator, source, target))
    expected = torch.autograd.grad(criterion(discriminator, source, target), list(discriminator.parameters()))
    for got, wanted in zip(torch.autograd.grad(loss, list(discriminator.parameters())), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_needs_a_module():
    with pytest.raises(TypeError, match=r"discriminator must be a torch\.nn\.Module, got function"):
        LSGANLoss()(lambda maps: maps, torch.randn(1), torch.randn(1))

"""ClassMix and votes of segments beside loops over images and over segments."""

import torch
from torch import Tensor

from benchmarks.workload import Case, Workload, copying, seeded
from correspondence_losses.functional import class_mix, segment_vote


def mixing(batch: int, classes: int, height: int, width: int) -> Case:
    """Labelled and unlabelled images; labels change every 16 pixels."""
    generator = seeded()
    images, others = torch.rand(2, batch, 3, height, width, generator=generator).unbind()
    labels, pseudo_labels = _regions(2 * batch, classes, height, width, generator).unflatten(0, (2, -1)).unbind()
    draws = seeded()

    def ours() -> tuple[Tensor, ...]:
        draws.manual_seed(0)
        mixed = class_mix(images, labels, others, pseudo_labels, classes, generator=draws)
        return mixed.images, mixed.labels.double()

    pasted = class_mix(images, labels, others, pseudo_labels, classes, generator=draws.manual_seed(0)).pasted
    drawn = [labels[i][pasted[i]].unique() for i in range(batch)]

    def peer() -> tuple[Tensor, ...]:
        mixed_images, mixed_labels = [], []
        for i in range(batch):
            shown = labels[i].unique()
            shown[torch.randperm(len(shown), device=shown.device)]
            mask = (labels[i] == drawn[i][:, None, None]).sum(0)
            mixed_images.append(mask * images[i] + (1 - mask) * others[i])
            mixed_labels.append(mask * labels[i] + (1 - mask) * pseudo_labels[i])
        return torch.stack(mixed_images), torch.stack(mixed_labels).double()

    return Case(ours, peer, lambda: copying([others, pseudo_labels]))


def voting(classes: int, height: int, width: int, segments: int) -> Case:
    """Class probabilities of one image, and its segments."""
    generator = seeded()
    probabilities = torch.randn(1, classes, height, width, generator=generator).softmax(1)
    labels = 1 + _regions(1, segments, height, width, generator)

    def ours() -> tuple[Tensor, ...]:
        votes = segment_vote(probabilities, labels, segments + 1)
        return votes.probabilities, votes.labels.double()

    def peer() -> tuple[Tensor, ...]:
        voted = probabilities[0].clone()
        for segment in range(1, segments + 1):
            pixels = labels[0] == segment
            voted[:, pixels] = probabilities[0][:, pixels].mean(1, keepdim=True)
        return voted[None], voted[None].argmax(1).double()

    return Case(ours, peer, lambda: copying([probabilities]))


def _regions(images: int, labels: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Squares of 16 x 16 pixels, each of a random label."""
    squares = torch.randint(labels, (images, -(-height // 16), -(-width // 16)), generator=generator)
    return squares.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :height, :width].contiguous()


_IMAGE, _QUICK_IMAGE = {"height": 480, "width": 640}, {"height": 32, "width": 48}

WORKLOADS = [
    Workload(
        name="class-mix",
        title="ClassMix, batch {batch}, {classes} classes, {height} x {width}",
        peer="loop over images",
        build=mixing,
        sizes={"batch": 4, "classes": 22, **_IMAGE},
        quick={"batch": 2, "classes": 4, **_QUICK_IMAGE},
        floor="one copy of the images and labels",
        note="the peer draws too, but pastes the classes that ours drew",
    ),
    Workload(
        name="segment-vote",
        title="votes of {segments} segments, {classes} classes, {height} x {width}, no gradient",
        peer="loop over masks",
        build=voting,
        sizes={"classes": 22, "segments": 60, **_IMAGE},
        quick={"classes": 4, "segments": 5, **_QUICK_IMAGE},
        floor="one copy of the probabilities",
    ),
]

"""Images that are mixed or masked for self-training: ClassMix, and the random blocks of masked consistency."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses._checks import (
    check_count,
    check_floating,
    check_integer,
    check_labels,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
)

__all__ = ["MaskedImages", "MixedImages", "class_mix", "mask_blocks"]


class MixedImages(NamedTuple):
    """What :func:`class_mix` returns."""

    images: Tensor
    """(b, c, H, W)."""
    labels: Tensor
    """(b, H, W), int64."""
    pasted: Tensor
    """The pixels that come from the labelled images, (b, H, W), bool."""


class MaskedImages(NamedTuple):
    """What :func:`mask_blocks` returns."""

    images: Tensor
    """(b, c, H, W), with the hidden pixels replaced."""
    hidden: Tensor
    """The pixels that are hidden, (b, H, W), bool."""


def class_mix(
    images: Tensor,
    labels: Tensor,
    unlabelled_images: Tensor,
    pseudo_labels: Tensor,
    num_classes: int,
    *,
    ignore_index: int | None = 0,
    generator: torch.Generator | None = None,
) -> MixedImages:
    r"""Pastes the pixels of half of the classes of labelled images onto unlabelled images, with both label maps.

    .. math:: x_\text{mix} = M \odot x_a + (1 - M) \odot x_b, \qquad
        y_\text{mix} = M \odot y_a + (1 - M) \odot \hat y_b, \qquad M_p = [y_{a,p} \in C]

    For each image, :math:`C` holds :math:`\lceil n / 2 \rceil` of the n classes that its label shows, drawn uniformly
    without replacement. Everything happens on the images' device, for the whole batch at once.

    Args:
        images: Labelled images, (b, c, H, W), floating point.
        labels: Their labels, (b, H, W), integers in [0, num_classes) or ``ignore_index``.
        unlabelled_images: As ``images``; the i-th gets classes of the i-th labelled image.
        pseudo_labels: Their pseudo labels, (b, H, W), integers.
        num_classes: Number of classes.
        ignore_index: A label whose pixels are never pasted, such as the background or "not labelled", which may lie
            outside of the classes; ``None`` for none.
        generator: Random generator on the images' device; the global one by default. ``torch.compile`` supports only
            the global one.

    Returns:
        The mixed images and labels, and which pixels were pasted. An image whose label has no class to paste leaves
        its unlabelled partner as it is.

    Raises:
        TypeError: If images are not floating point, labels not integers, or ``num_classes`` not an int.
        ValueError: If shapes or devices do not fit, ``images`` are empty, or a label in host memory is out of range.

    Source:
        Olsson, Tranheden, Pinto and Svensson, "ClassMix: Segmentation-Based Data Augmentation for Semi-Supervised
        Learning", 2021; across domains, with classes of the labelled image, Tranheden, Olsson, Pinto and Svensson,
        "DACS: Domain Adaptation via Cross-domain Mixed Sampling", 2021.

    Example:
        >>> images, unlabelled_images = torch.ones(1, 3, 1, 4), torch.zeros(1, 3, 1, 4)
        >>> labels, pseudo_labels = torch.tensor([[[0, 2, 2, 0]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> mixed = class_mix(images, labels, unlabelled_images, pseudo_labels, num_classes=3)
        >>> mixed.labels.tolist(), mixed.images[0, 0].tolist()
        ([[[1, 2, 2, 0]]], [[0.0, 1.0, 1.0, 0.0]])
    """
    check_floating("images", images)
    check_rank("images", images, 4, "(b, c, H, W)")
    check_not_empty("images", images)
    check_floating("unlabelled_images", unlabelled_images)
    check_shape("unlabelled_images", unlabelled_images, images.shape, "that of images")
    check_same_device("unlabelled_images", unlabelled_images, "images", images)
    for name, of_images in (("labels", labels), ("pseudo_labels", pseudo_labels)):
        check_integer(name, of_images)
        check_shape(name, of_images, (len(images), *images.shape[2:]), "a label for each pixel of images")
        check_same_device(name, of_images, "images", images)
    check_count("num_classes", num_classes)
    _check_generator(generator, images)
    classes = labels.flatten(1).long()
    never = torch.zeros_like(classes, dtype=torch.bool) if ignore_index is None else classes == ignore_index
    check_labels("labels", classes.masked_fill(never, 0), num_classes)
    # What is never pasted has a class of its own, in the last column.
    never = never | (classes < 0) | (classes >= num_classes)
    classes = classes.masked_fill(never, num_classes)
    b = len(images)
    present = torch.zeros(b, num_classes + 1, dtype=torch.bool, device=images.device).scatter_(1, classes, True)
    present = present & (torch.arange(num_classes + 1, device=images.device) < num_classes)
    draw = _uniform((b, num_classes + 1), images, generator).masked_fill(~present, -1)
    rank = draw.argsort(1, descending=True).argsort(1)
    chosen = present & (rank < (present.sum(1, keepdim=True) + 1) // 2)
    pasted = chosen.gather(1, classes).view_as(labels)
    return MixedImages(
        torch.where(pasted.unsqueeze(1), images, unlabelled_images),
        torch.where(pasted, labels.long(), pseudo_labels.long()),
        pasted,
    )


def mask_blocks(
    images: Tensor,
    block_size: int = 64,
    ratio: float = 0.7,
    *,
    value: float = 0.0,
    generator: torch.Generator | None = None,
) -> MaskedImages:
    r"""Hides random blocks of images.

    A grid of squares lies over each image from its upper left corner; each square is hidden with probability r,
    independently of the others:

    .. math:: M_{mb+1:(m+1)b,\;nb+1:(n+1)b} = [v_{mn} < r], \qquad v_{mn} \sim U(0, 1)

    Args:
        images: (b, c, H, W), floating point.
        block_size: Side b of a square in pixels; those at the right and lower edge may be cut off.
        ratio: r, in [0, 1].
        value: What hidden pixels are set to: 0 is the mean of normalised images.
        generator: Random generator on the images' device; the global one by default. ``torch.compile`` supports only
            the global one.

    Returns:
        The images with hidden blocks, and which pixels are hidden.

    Raises:
        TypeError: If ``images`` are not floating point, or ``block_size`` not an int.
        ValueError: If ``images`` are not (b, c, H, W) or empty, ``block_size`` is below 1, or ``ratio`` not in [0, 1].

    Source:
        Hoyer, Dai, Wang and Van Gool, "MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation", 2023,
        sec. 3, with b = 64 and r = 0.7.

    Example:
        >>> masked = mask_blocks(torch.ones(1, 3, 4, 6), block_size=2, generator=torch.Generator().manual_seed(0))
        >>> masked.images[0, 0, ::2, ::2].tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    check_floating("images", images)
    check_rank("images", images, 4, "(b, c, H, W)")
    check_not_empty("images", images)
    check_count("block_size", block_size)
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must lie in [0, 1], got {ratio}")
    _check_generator(generator, images)
    height, width = images.shape[-2:]
    squares = (-(-height // block_size), -(-width // block_size))
    drawn = (_uniform((len(images), *squares), images, generator) < ratio).unsqueeze(1).float()
    hidden = F.interpolate(drawn, scale_factor=float(block_size), mode="nearest")[:, 0, :height, :width] > 0
    return MaskedImages(images.masked_fill(hidden.unsqueeze(1), value), hidden)


def _check_generator(generator: torch.Generator | None, images: Tensor) -> None:
    """Raise ``ValueError`` unless the generator is on the images' device."""
    if generator is not None and generator.device != images.device:
        raise ValueError(f"generator must be on the device of the images, {images.device}, got {generator.device}")


def _uniform(shape: tuple[int, ...], images: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:  # torch.compile traces random numbers only where no generator is named
        return torch.rand(shape, device=images.device)
    return torch.rand(shape, device=images.device, generator=generator)

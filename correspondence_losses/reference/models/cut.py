"""Contrastive unpaired translation (CUT) of images from one domain to another."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses.blocks import FeatureDiscriminator, LocalProjector
from correspondence_losses.correspond import Matches
from correspondence_losses.losses import LSGANLoss, PatchNCELoss

__all__ = ["CUTModel", "Translator"]

_LARGEST = 0.99  # of a colour in (-1, 1), so that its inverse hyperbolic tangent is finite


class Translator(nn.Module):
    """A residual network from images to images, of any size.

    A 7 x 7 convolution, two halvings, residual blocks, two doublings and a 7 x 7 convolution, with instance
    normalisation. Unlike CUT's own it says what to change: before the last tanh its output is added to the image. It
    begins as the identity, and a short training has not to learn that first.

    Args:
        channels: Width at full size; each halving doubles it.
        num_blocks: Number of residual blocks.
    """

    def __init__(self, channels: int = 64, num_blocks: int = 9) -> None:
        super().__init__()
        widths = [channels, 2 * channels, 4 * channels]
        self.widths = widths
        self.stem = _layer(3, widths[0], kernel_size=7)
        self.down = nn.ModuleList(_layer(a, b, stride=2) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(_ResidualBlock(widths[-1]) for _ in range(num_blocks))
        self.up = nn.ModuleList(_layer(b, a) for a, b in reversed([*pairwise(widths)]))
        self.change = nn.Conv2d(widths[0], 3, kernel_size=7, padding=3, padding_mode="reflect")
        for parameter in self.change.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images (b, 3, H, W) with colours from -1 to 1."""
        *finer, features = self.encode(images)
        for block in self.blocks[len(self.blocks) // 2 :]:
            features = block(features)
        for layer, skipped in zip(self.up, reversed(finer[: len(self.up)]), strict=True):
            size = (skipped.shape[-2], skipped.shape[-1])
            features = layer(F.interpolate(features, size=size, mode="nearest"))
        return torch.tanh(torch.atanh(_LARGEST * images) + self.change(features))

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the features of the encoder: at full, half and quarter size, and after half of the blocks."""
        maps = [self.stem(images)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        features = maps[-1]
        for block in self.blocks[: len(self.blocks) // 2]:
            features = block(features)
        return [*maps, features]


class CUTModel(nn.Module):
    """A translator with the losses that train it.

    LSGAN makes the translated images indistinguishable from those of the target domain. PatchNCE makes each place of a
    translated image recognisable among all places of the image that it was made from. On translated images of the
    target domain, PatchNCE keeps them unchanged.

    Args:
        channels: Width of the translator.
        num_blocks: Its residual blocks.
        nce_weight: Weight of PatchNCE on the source's images.
        identity_weight: Weight of PatchNCE on the target's.

    Source:
        Park, Efros, Zhang and Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", 2020, eq. 4.
    """

    def __init__(self, channels: int, num_blocks: int, *, nce_weight: float, identity_weight: float) -> None:
        super().__init__()
        self.translator = Translator(channels, num_blocks)
        widths = [*self.translator.widths, self.translator.widths[-1]]
        self.projectors = nn.ModuleList(LocalProjector(width, (256,), 256, norm="none") for width in widths)
        self.discriminator = FeatureDiscriminator(3, num_downsamples=3)
        self.lsgan = LSGANLoss()
        self.nce = PatchNCELoss()
        self.nce_weight = nce_weight
        self.identity_weight = identity_weight

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"`` is to be minimised."""
        source, target, places = batch["image"], batch["unlabelled_image"], batch["places"]
        translated, kept = self.translator(torch.cat([source, target])).chunk(2)
        generator, discriminator = self.lsgan.terms(self.discriminator, target, translated)
        nce, identity = self._nce(translated, source, places), self._nce(kept, target, places)
        return {
            "loss": generator + discriminator + self.nce_weight * nce + self.identity_weight * identity,
            "generator": generator,
            "discriminator": discriminator,
            "nce": nce,
            "nce_identity": identity,
        }

    def refine(self, images: Tensor) -> Tensor:
        """Return translated images (b, 3, H, W), with colours from 0 to 1 as those given."""
        translated: Tensor = self.translator(2 * images - 1)
        return (translated + 1) / 2

    def _nce(self, translated: Tensor, images: Tensor, places: Tensor) -> Tensor:
        """Return the mean of PatchNCE over the layers, at the places (b, k, 2) as parts of height and width."""
        queries, keys = (self._projected(encoded) for encoded in (translated, images))
        losses = [self.nce(a, b, _same_places(a, places)) for a, b in zip(queries, keys, strict=True)]
        return torch.stack(losses).mean()

    def _projected(self, images: Tensor) -> Sequence[Tensor]:
        maps = self.translator.encode(images)
        return [projector(features) for projector, features in zip(self.projectors, maps, strict=True)]


def _same_places(features: Tensor, places: Tensor) -> Matches:
    size = torch.tensor(features.shape[-2:], device=places.device)
    rows, columns = (places * size).long().unbind(-1)
    cells = rows * features.shape[-1] + columns
    return Matches(cells, cells, torch.ones_like(cells, dtype=torch.bool), torch.zeros_like(places[..., 0]))


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_layer(channels, channels), *_layer(channels, channels)[:2])

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.layers(features)
        return features + changed


def _layer(in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    padding = kernel_size // 2
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, padding_mode="reflect", bias=False)
    return nn.Sequential(convolution, nn.InstanceNorm2d(out_channels, affine=True), nn.ReLU())

"""Discriminators that tell from which domain a feature map comes (section 3.2, figure 3.7)."""

from collections.abc import Sequence

from torch import Tensor, nn

from correspondence_losses._checks import check_count, check_feature_map, check_feature_maps, check_positive

__all__ = ["FeatureDiscriminator", "MultiLevelDiscriminator"]

_MAX_CHANNELS = 512
_GROUPS = 32


class FeatureDiscriminator(nn.Module):
    """A patch discriminator on a feature map: one score for each patch, without a sigmoid.

    3 x 3 convolutions: ``num_downsamples`` of stride 2, from ``channels`` doubling up to 512, one of stride 1 and one
    to the scores, with leaky ReLUs (0.2) and, but for the first and the last, group normalisation, which works with a
    batch of 1. A map of any size has scores: each downsampling halves it, rounded up, so that even a single cell
    leaves one.

    The thesis gives no architecture; this is that of PatchGAN with kernels of 3, which small maps survive.

    Args:
        in_channels: Channels of the feature map.
        num_downsamples: Number of halvings, which sets the size of a patch; 0 or more.
        channels: Channels of the first convolution, a multiple of 32.

    Example:
        >>> import torch
        >>> FeatureDiscriminator(256)(torch.randn(1, 256, 30, 40)).shape
        torch.Size([1, 1, 8, 10])

    Source:
        Section 3.2; Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017.
    """

    def __init__(self, in_channels: int, num_downsamples: int = 2, channels: int = 64) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_positive("num_downsamples", num_downsamples, zero=True)
        check_count("channels", channels)
        if channels % _GROUPS:
            raise ValueError(f"channels must be a multiple of {_GROUPS}, got {channels}")
        self.in_channels = in_channels
        widths = [min(channels * 2**index, max(channels, _MAX_CHANNELS)) for index in range(num_downsamples + 1)]
        layers: list[nn.Module] = []
        previous = in_channels
        for index, width in enumerate(widths):
            stride = 2 if index < num_downsamples else 1
            layers.append(nn.Conv2d(previous, width, kernel_size=3, stride=stride, padding=1))
            if index > 0:
                layers.append(nn.GroupNorm(_GROUPS, width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            previous = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(previous, 1, kernel_size=3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Score each patch.

        Args:
            features: Feature map, ``(b, in_channels, h, w)``.

        Returns:
            Scores, ``(b, 1, ⌈h / 2^n⌉, ⌈w / 2^n⌉)`` for ``n`` downsamplings.

        Raises:
            TypeError: If the features are not floating-point.
            ValueError: If they are not ``(b, in_channels, h, w)``, or empty.
        """
        check_feature_map("features", features, self.in_channels)
        scores: Tensor = self.layers(features)
        return scores


class MultiLevelDiscriminator(nn.Module):
    """One :class:`FeatureDiscriminator` for each level of a network (figure 3.7).

    With the defaults, for RefineNet's maps at 1/16, 1/8 and 1/4 of the image: each finer level is halved once more, so
    that the patches of all levels are of one size in the image, and so is the number of their scores.

    Args:
        in_channels: Channels of each level.
        num_downsamples: Number of halvings at each level.
        channels: Channels of each discriminator's first convolution.

    Example:
        >>> import torch
        >>> maps = [torch.randn(1, 256, 480 // s, 640 // s) for s in (16, 8, 4)]
        >>> [tuple(scores.shape) for scores in MultiLevelDiscriminator()(maps)]
        [(1, 1, 15, 20), (1, 1, 15, 20), (1, 1, 15, 20)]

    Source:
        Section 3.2, figure 3.7.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 256, 256),
        num_downsamples: Sequence[int] = (1, 2, 3),
        channels: int = 64,
    ) -> None:
        super().__init__()
        if not in_channels or len(in_channels) != len(num_downsamples):
            raise ValueError(
                "num_downsamples must have one entry for each of in_channels, at least one, "
                f"got {len(num_downsamples)} for {len(in_channels)}"
            )
        self.in_channels = tuple(in_channels)
        self.levels = nn.ModuleList(
            FeatureDiscriminator(width, halvings, channels)
            for width, halvings in zip(in_channels, num_downsamples, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Score each level's map.

        Args:
            maps: One feature map ``(b, in_channels, h, w)`` for each level.

        Returns:
            The scores of each level, as :class:`FeatureDiscriminator` gives them.

        Raises:
            TypeError: If a map is not floating-point.
            ValueError: If the number of maps is not that of the levels, a map has a wrong shape or is empty, or batch
                sizes or devices differ.
        """
        check_feature_maps("maps", maps, self.in_channels)
        return [level(features) for level, features in zip(self.levels, maps, strict=True)]

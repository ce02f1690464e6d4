"""Discriminators that classify which domain a feature map comes from (section 3.2, figure 3.7)."""

from collections.abc import Sequence

from torch import Tensor, nn

from correspondence_losses._checks import (
    check_channels,
    check_count,
    check_feature_map,
    check_feature_maps,
    check_positive,
)
from correspondence_losses._settings import ModuleWithSettings

__all__ = ["FeatureDiscriminator", "MultiLevelDiscriminator"]

_MAX_CHANNELS = 512
_GROUPS = 32


class FeatureDiscriminator(ModuleWithSettings):
    """A patch discriminator of a feature map: one score for each patch, without a sigmoid.

    Its layers are 3 x 3 convolutions: ``num_downsamples`` of stride 2, whose width doubles from ``channels`` up to 512,
    one of stride 1, and one to the scores. Leaky ReLUs (0.2) follow all but the last, and group normalisation, which
    works with a batch of 1, all but the first and the last. Each downsampling halves the map, rounded up, so maps of
    any size have scores.

    The thesis gives no architecture. This is PatchGAN's with 3 x 3 kernels, which suit small maps.

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

    def __init__(self, in_channels: int, *, num_downsamples: int = 2, channels: int = 64) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_positive("num_downsamples", num_downsamples, zero=True)
        check_count("channels", channels)
        if channels % _GROUPS:
            raise ValueError(f"channels must be a multiple of {_GROUPS}, got {channels}")
        self.in_channels = in_channels
        self.num_downsamples = num_downsamples
        self.channels = channels
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


class MultiLevelDiscriminator(ModuleWithSettings):
    """One :class:`FeatureDiscriminator` for each level of a network (figure 3.7).

    The defaults suit RefineNet's maps at 1/4, 1/8 and 1/16 of the image, the first three of its pyramid. Each finer
    level is halved once more, so the patches of all levels have one size in the image, and all levels have as many
    scores.

    Args:
        in_channels: Channels of each level.
        num_downsamples: Number of halvings at each level.
        channels: Channels of each discriminator's first convolution.

    Example:
        >>> import torch
        >>> features = [torch.randn(1, 256, 480 // s, 640 // s) for s in (4, 8, 16)]
        >>> [tuple(scores.shape) for scores in MultiLevelDiscriminator()(features)]
        [(1, 1, 15, 20), (1, 1, 15, 20), (1, 1, 15, 20)]

    Source:
        Section 3.2, figure 3.7.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 256, 256),
        *,
        num_downsamples: Sequence[int] = (3, 2, 1),
        channels: int = 64,
    ) -> None:
        super().__init__()
        check_channels("in_channels", in_channels)
        if len(in_channels) != len(num_downsamples):
            raise ValueError(
                "num_downsamples must have one entry for each of in_channels, "
                f"got {len(num_downsamples)} for {len(in_channels)}"
            )
        self.in_channels = tuple(in_channels)
        self.num_downsamples = tuple(num_downsamples)
        self.channels = channels
        self.levels = nn.ModuleList(
            FeatureDiscriminator(width, num_downsamples=halvings, channels=channels)
            for width, halvings in zip(in_channels, num_downsamples, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Score the map of each level.

        Args:
            features: One feature map ``(b, in_channels[i], h_i, w_i)`` for each level.

        Returns:
            The scores of each level, as :class:`FeatureDiscriminator` gives them.

        Raises:
            TypeError: If a map is not floating-point.
            ValueError: If the number of maps is not that of the levels, a map has a wrong shape or is empty, or batch
                sizes or devices differ.
        """
        check_feature_maps("features", features, self.in_channels)
        return [level(of_level) for level, of_level in zip(self.levels, features, strict=True)]

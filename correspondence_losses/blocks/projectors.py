"""The projection heads of VICRegL: local, over the cells of a map, and global, over pooled vectors (section 2.3)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from correspondence_losses._checks import (
    check_count,
    check_feature_map,
    check_floating,
    check_not_empty,
    check_rank,
    check_shape,
)
from correspondence_losses._settings import ModuleWithSettings

__all__ = ["GlobalExpander", "LocalProjector", "Norm"]

Norm = Literal["layer", "batch", "none"]
"""The normalisation after each hidden layer."""


class LocalProjector(ModuleWithSettings):
    """A multilayer perceptron applied to each cell of a feature map: h_ϕ^l, from (C, H, W) to (D, H, W) (section 2.3).

    A hidden layer is a linear map of each cell (a 1 x 1 convolution), a norm and a ReLU. The last layer is linear and
    has no bias: a constant shift changes neither VICReg nor the segment losses. The defaults are the [2048, 512, 512]
    of the thesis.

    Args:
        in_channels: Channels of the feature map, C.
        hidden_channels: Channels of the hidden layers.
        out_channels: Channels of the embedding, D.
        norm: "layer" normalises the channels of each cell separately and works with any batch size; "batch" is batch
            normalisation over all cells of the batch; "none".

    Example:
        >>> import torch
        >>> LocalProjector(64, hidden_channels=(32,), out_channels=16)(torch.randn(1, 64, 7, 7)).shape
        torch.Size([1, 16, 7, 7])

    Source:
        Section 2.3; Bardes et al., "VICRegL: Self-Supervised Learning of Local Visual Features", 2022.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        hidden_channels: Sequence[int] = (512,),
        out_channels: int = 512,
        *,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.hidden_channels = tuple(hidden_channels)
        self.out_channels = out_channels
        self.norm = norm
        self.layers = _perceptron(in_channels, hidden_channels, out_channels, norm)

    def forward(self, features: Tensor) -> Tensor:
        """Project each cell.

        Args:
            features: Feature map, ``(b, in_channels, h, w)``.

        Returns:
            The embedding of each cell, ``(b, out_channels, h, w)``.

        Raises:
            TypeError: If the features are not floating-point.
            ValueError: If they are not ``(b, in_channels, h, w)``, or empty.
        """
        check_feature_map("features", features, self.in_channels)
        embedding: Tensor = self.layers(features.flatten(2).transpose(1, 2).flatten(0, 1))
        cells = embedding.view(len(features), -1, self.out_channels).transpose(1, 2)
        return cells.view(*cells.shape[:2], *features.shape[2:])


class GlobalExpander(ModuleWithSettings):
    """A multilayer perceptron applied to pooled vectors: h_ψ^g, from C to D (section 2.3).

    The layers are those of :class:`LocalProjector`. The defaults are the [2048, 8192, 8192] of the thesis.

    Args:
        in_channels: Channels of the pooled features, C.
        hidden_channels: Channels of the hidden layers.
        out_channels: Channels of the embedding, D.
        norm: As in :class:`LocalProjector`; "batch" needs a batch of at least 2 in training.

    Example:
        >>> import torch
        >>> GlobalExpander(64, hidden_channels=(128,), out_channels=128)(torch.randn(1, 64)).shape
        torch.Size([1, 128])

    Source:
        Section 2.3; Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization", 2021.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        hidden_channels: Sequence[int] = (8192,),
        out_channels: int = 8192,
        *,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.hidden_channels = tuple(hidden_channels)
        self.out_channels = out_channels
        self.norm = norm
        self.layers = _perceptron(in_channels, hidden_channels, out_channels, norm)

    def forward(self, features: Tensor) -> Tensor:
        """Expand each vector.

        Args:
            features: Pooled features, ``(b, in_channels)``.

        Returns:
            Their embeddings, ``(b, out_channels)``.

        Raises:
            TypeError: If the features are not floating-point.
            ValueError: If they are not ``(b, in_channels)``, or empty.
        """
        check_floating("features", features)
        check_rank("features", features, 2, "(b, in_channels)")
        check_shape("features", features, (len(features), self.in_channels), f"{self.in_channels} channels")
        check_not_empty("features", features)
        embedding: Tensor = self.layers(features)
        return embedding


def _perceptron(in_channels: int, hidden_channels: Sequence[int], out_channels: int, norm: Norm) -> nn.Sequential:
    norms: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d, "none": nn.Identity}
    if norm not in norms:
        raise ValueError(f"norm must be one of {', '.join(norms)}, got {norm!r}")
    check_count("in_channels", in_channels)
    check_count("out_channels", out_channels)
    layers: list[nn.Module] = []
    channels = in_channels
    for index, hidden in enumerate(hidden_channels):
        check_count(f"hidden_channels[{index}]", hidden)
        layers += [nn.Linear(channels, hidden), norms[norm](hidden), nn.ReLU(inplace=True)]
        channels = hidden
    return nn.Sequential(*layers, nn.Linear(channels, out_channels, bias=False))

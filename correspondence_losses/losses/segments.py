"""Segment regularisation as a module (thesis, eq. 4.4 to 4.7)."""

from torch import Tensor

from correspondence_losses._checks import check_positive
from correspondence_losses._reduction import Reduction, check_choice, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.segment_regularization import (
    CHANNEL_REDUCTIONS,
    ChannelReduction,
    SegmentRegularizationTerms,
    segment_regularization_loss,
    segment_regularization_terms,
)

__all__ = ["SegmentRegularizationLoss"]


class SegmentRegularizationLoss(ModuleWithSettings):
    r"""Makes features equal inside each segment of an image and different between segments.

    .. math::

        \mathcal{L}_\text{SAM Reg} = \mathcal{L}_\text{Inv} + \mathcal{L}_V, \qquad
        \bar{\mathcal{L}}_\text{SAM Reg} = \operatorname{mean}_D \mathcal{L}_\text{SAM Reg}

    for each image, with :math:`\mathcal{L}_\text{Inv}` of
    :func:`~correspondence_losses.functional.segment_invariance_loss` and :math:`\mathcal{L}_V` of
    :func:`~correspondence_losses.functional.segment_separation_loss`. An image without segments has loss 0, and one
    with a single segment has no separation term. The function is
    :func:`~correspondence_losses.functional.segment_regularization_loss`.

    Args:
        beta: The distance that the means of two segments should keep in each channel; above 0.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which lie in [0, num_segments). By default it is the largest label of each
            call plus one, which synchronises with the device; ``torch.compile`` needs the bound.
        channel_reduction: ``"mean"`` over the channels, or their ``"sum"``, as eq. 4.7 is printed (its text says
            mean).
        reduction: ``"none"`` (one value for each image), ``"mean"`` or ``"sum"`` over the images.

    Shape:
        features (b, d, H, W), floating point; segments (b, H, W) integers, or (b, s, H, W) bool masks. Returns a
        scalar, or (b,) with ``reduction="none"``.

    Raises:
        TypeError, ValueError: If the settings, the features or the segments do not fit this.

    Source:
        Thesis, eq. 4.4 to 4.7, with beta 0.5; De Brabandere, Neven and Van Gool, "Semantic Instance Segmentation with
        a Discriminative Loss Function", 2017.

    Example:
        >>> import torch
        >>> features = torch.randn(2, 3, 8, 8, requires_grad=True)
        >>> segments = torch.arange(64).reshape(1, 8, 8).expand(2, -1, -1) // 16  # 0, no segment, to 3
        >>> loss = SegmentRegularizationLoss(beta=0.5)
        >>> invariance, separation = loss.terms(features, segments)
        >>> bool(loss(features, segments) == invariance + separation)
        True
    """

    def __init__(
        self,
        beta: float = 0.5,
        *,
        ignore_index: int | None = 0,
        num_segments: int | None = None,
        channel_reduction: ChannelReduction = "mean",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive("beta", beta)
        check_choice("channel_reduction", channel_reduction, CHANNEL_REDUCTIONS)
        check_reduction(reduction)
        self.beta = beta
        self.ignore_index = ignore_index
        self.num_segments = num_segments
        self.channel_reduction = channel_reduction
        self.reduction = reduction

    def forward(self, features: Tensor, segments: Tensor) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return segment_regularization_loss(features, segments, **self.settings())

    def terms(self, features: Tensor, segments: Tensor, num_segments: int | None = None) -> SegmentRegularizationTerms:
        """Return the invariance and the separation term; ``num_segments`` is a bound for this call alone."""
        settings = self.settings()
        if num_segments is not None:
            settings["num_segments"] = num_segments
        return segment_regularization_terms(features, segments, **settings)

"""Contrastive losses: InfoNCE, PatchNCE over matches, and contrast between the segments of two views."""

from torch import Tensor

from correspondence_losses._checks import check_bool, check_positive, check_same_device, check_shape, check_tensor
from correspondence_losses._reduction import Reduction, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.functional.contrastive import detcon_loss, info_nce_loss, segment_contrastive_loss

__all__ = ["DetConLoss", "InfoNCELoss", "PatchNCELoss", "SegmentContrastiveLoss", "patch_nce_loss"]


class _ContrastiveLoss(ModuleWithSettings):
    """The settings that all contrastive losses have."""

    def __init__(self, temperature: float, reduction: Reduction) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_reduction(reduction)
        self.temperature = temperature
        self.reduction = reduction


class InfoNCELoss(_ContrastiveLoss):
    """InfoNCE of vectors: classifies, for each query, its own key among all keys of the image.

    The function is :func:`~correspondence_losses.functional.info_nce_loss`, which says what it computes and what
    ``valid`` and ``key_cells`` do.

    Args:
        temperature: τ, above 0.
        reduction: ``"none"`` (one value for each query), ``"mean"`` or ``"sum"`` over the valid queries.

    Shape:
        queries, keys: (..., k, d), floating point. Returns a scalar, or (..., k) with ``reduction="none"``.

    Example:
        >>> import torch
        >>> queries = torch.eye(4)
        >>> InfoNCELoss(temperature=0.5)(queries, queries)
        tensor(0.3408)
    """

    def __init__(self, temperature: float = 0.07, *, reduction: Reduction = "mean") -> None:
        super().__init__(temperature, reduction)

    def forward(
        self, queries: Tensor, keys: Tensor, *, valid: Tensor | None = None, key_cells: Tensor | None = None
    ) -> Tensor:
        """Return the loss."""
        return info_nce_loss(queries, keys, valid=valid, key_cells=key_cells, **self.settings())


class DetConLoss(_ContrastiveLoss):
    """DetCon of pooled features: classifies, for each segment, its feature in the other view among all segments'.

    The function is :func:`~correspondence_losses.functional.detcon_loss`, which says what it computes and what the
    masks do.

    Args:
        temperature: τ, above 0.
        reduction: ``"none"`` (one value for each segment), ``"mean"`` or ``"sum"`` over the segments that both views
            show.

    Shape:
        means_a, means_b: (b, s, d), floating point. Returns a scalar, or (b, s) with ``reduction="none"``.

    Example:
        >>> import torch
        >>> means = torch.eye(3).unsqueeze(0)
        >>> DetConLoss(temperature=0.5)(means, means)
        tensor(0.8653)
    """

    def __init__(self, temperature: float = 0.1, *, reduction: Reduction = "mean") -> None:
        super().__init__(temperature, reduction)

    def forward(
        self, means_a: Tensor, means_b: Tensor, *, present_a: Tensor | None = None, present_b: Tensor | None = None
    ) -> Tensor:
        """Return the loss."""
        return detcon_loss(means_a, means_b, present_a=present_a, present_b=present_b, **self.settings())


def patch_nce_loss(
    features_a: Tensor,
    features_b: Tensor,
    matches: Matches,
    *,
    temperature: float = 0.07,
    detach_target: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """PatchNCE over matches: the function of :class:`PatchNCELoss`.

    Args:
        features_a: Feature maps of the queries, (b, d, h, w), floating point.
        features_b: Feature maps of the keys, (b, d, h', w'), floating point.
        matches: Which cells of ``features_a`` correspond to which of ``features_b``.
        temperature: τ, above 0.
        detach_target: Whether ``features_b`` is a constant target.
        reduction: ``"none"`` returns one value for each match, (b, k), 0 where not valid; ``"mean"`` the mean over all
            valid matches, 0 without any; ``"sum"`` their sum.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError, ValueError: If the settings, the features or the matches do not fit this.

    Source:
        Park, Efros, Zhang and Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", 2020, eq. 3.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import feature_matches
        >>> features_a, features_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> matches = feature_matches(features_a, features_b, num_matches=20)
        >>> patch_nce_loss(features_a, features_b, matches, reduction="none").shape
        torch.Size([2, 20])
    """
    check_tensor("features_b", features_b)
    queries, keys = gather_matches(features_a, features_b.detach() if detach_target else features_b, matches)
    check_bool("matches.valid", matches.valid)
    check_shape("matches.valid", matches.valid, matches.index_a.shape, "that of matches.index_a")
    check_same_device("matches.valid", matches.valid, "features_a", features_a)
    return info_nce_loss(
        queries,
        keys,
        valid=matches.valid,
        key_cells=matches.index_b,
        temperature=temperature,
        reduction=reduction,
    )


class PatchNCELoss(_ContrastiveLoss):
    r"""Classifies, for each matched cell of one map, its match among the other matched cells of the same image.

    The queries are the matched vectors of ``features_a``, the keys those of ``features_b``, normalised to unit length;
    the loss is :func:`~correspondence_losses.functional.info_nce_loss`. Two matches that share a cell of
    ``features_b`` are not negatives of each other. An invalid match is neither query nor negative. To use a projection,
    apply it to the features before.

    The function is :func:`patch_nce_loss`.

    Args:
        temperature: τ, above 0.
        detach_target: Whether ``features_b`` is a constant target, as in the source, where it comes from the input
            image and ``features_a`` from the translated one.
        reduction: ``"none"`` (one value for each match), ``"mean"`` or ``"sum"`` over all valid matches.

    Shape:
        features_a (b, d, h, w), features_b (b, d, h', w'), floating point; matches of k slots. Returns a scalar, or
        (b, k) with ``reduction="none"``.

    Raises:
        TypeError, ValueError: If the settings, the features or the matches do not fit this.

    Source:
        Park, Efros, Zhang and Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", 2020, eq. 3.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import ViewGrid, location_matches
        >>> grid = ViewGrid.from_boxes(torch.tensor([[0.0, 0.0, 64.0, 64.0]]).expand(2, -1), (8, 8))
        >>> features_a, features_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> PatchNCELoss()(features_a, features_b, location_matches(grid, grid, num_matches=64)).shape
        torch.Size([])
    """

    def __init__(self, temperature: float = 0.07, *, detach_target: bool = True, reduction: Reduction = "mean") -> None:
        super().__init__(temperature, reduction)
        self.detach_target = detach_target

    def forward(self, features_a: Tensor, features_b: Tensor, matches: Matches) -> Tensor:
        """Return the loss."""
        return patch_nce_loss(features_a, features_b, matches, **self.settings())


class SegmentContrastiveLoss(_ContrastiveLoss):
    r"""Contrast between the segments of two views: :class:`DetConLoss` of features pooled over each segment.

    The function is :func:`~correspondence_losses.functional.segment_contrastive_loss`, which says how features are
    pooled and how to put a projection in between.

    Args:
        temperature: τ, above 0.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which lie in [0, num_segments). By default it is the largest label of each
            call plus one, which synchronises with the device. ``torch.compile`` and ``gather`` need the bound.
        gather: Whether the segments of all ranks' images are contrasted with each other, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        reduction: ``"none"`` (one value for each segment), ``"mean"`` or ``"sum"`` over the segments that both views
            show.

    Shape:
        features_a, features_b: (b, d, H, W), floating point, of sizes that may differ.
        segments_a, segments_b: their (b, H, W) integer labels, or (b, s, H, W) bool masks; a label means the same
            segment in both. Returns a scalar, or (b, s) with ``reduction="none"``.

    Raises:
        TypeError, ValueError: If the settings, the features or the segments do not fit this.

    Source:
        Hénaff et al., "Efficient Visual Pretraining with Contrastive Detection", 2021, eq. 3; thesis, sec. 4.5.2.

    Example:
        >>> import torch
        >>> features_a, features_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> segments = torch.arange(64).reshape(1, 8, 8).expand(2, -1, -1) // 16  # 0, no segment, to 3
        >>> SegmentContrastiveLoss()(features_a, segments, features_b, segments.flip(-1)).shape
        torch.Size([])
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        ignore_index: int | None = 0,
        num_segments: int | None = None,
        gather: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(temperature, reduction)
        self.ignore_index = ignore_index
        self.num_segments = num_segments
        self.gather = gather

    def forward(self, features_a: Tensor, segments_a: Tensor, features_b: Tensor, segments_b: Tensor) -> Tensor:
        """Return the loss."""
        return segment_contrastive_loss(features_a, segments_a, features_b, segments_b, **self.settings())

"""Backbone, projectors and linear head as one module that computes its own training loss (eq. 4.9 and 4.10)."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses.blocks import GlobalExpander, LinearHead, LocalProjector
from correspondence_losses.functional import VICRegTerms
from correspondence_losses.losses import MatchedVICRegLoss, VICRegLLoss
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.streams.segment_pairs import MatchedViewSet, SegmentSearch

__all__ = ["VICRegLModel"]


class VICRegLModel(nn.Module):
    r"""A backbone that is trained by what corresponds between views, with a linear head beside it or without.

    .. math:: \mathcal{L} = \rho_\text{VICRegL} \mathcal{L}_\text{VICRegL} + \rho_\text{SAM} \mathcal{L}_\text{SAM}
        + \mathcal{L}_\text{Seg}

    The local projector serves both the local loss of VICRegL and the matches by segment. What has no weight is neither
    created nor computed.

    Args:
        backbone: Returns a list of feature maps, finest first; the last is used.
        head: Beside it; ``None`` for none: eq. 4.9.
        projector: Of the cells.
        expander: Of the pooled maps; ``None`` where VICRegL has no weight.
        vicregl_weight: ρ_VICRegL.
        vicregl: The loss of eq. 2.10.
        sam_weight: ρ_SAM.
        sam: The loss between matched vectors of eq. 4.1.
        searches: The matches by segment that a batch brings.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: LinearHead | None,
        projector: LocalProjector,
        expander: GlobalExpander | None,
        *,
        vicregl_weight: float,
        vicregl: VICRegLLoss,
        sam_weight: float,
        sam: MatchedVICRegLoss,
        searches: Sequence[SegmentSearch],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.projector = projector
        self.expander = expander
        self.vicregl_weight = vicregl_weight
        self.vicregl = vicregl
        self.sam_weight = sam_weight
        self.sam = sam
        self.searches = searches

    def forward(self, batch: MatchedViewSet) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"`` is to be minimised."""
        views = batch.views
        maps = self._maps(views.images)
        cells = torch.cat([view.flatten(2) for view in maps], dim=-1)[:, :, None]
        embeddings = self.projector(cells)  # (b, d, 1, cells of all views)
        weighted: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        if self.expander is not None:
            pooled = torch.cat([view.mean(dim=(-2, -1)) for view in maps])
            whole = self.expander(pooled).chunk(len(maps))
            split = embeddings.split([view.shape[-2] * view.shape[-1] for view in maps], dim=-1)
            local = [part.unflatten(-1, view.shape[-2:]).squeeze(2) for part, view in zip(split, maps, strict=True)]
            parts = self.vicregl.terms(whole, local, views.grids, num_large=views.num_large)
            terms |= {"vicregl": torch.stack(parts).sum(), **parts._asdict()}
            weighted.append(self.vicregl_weight * terms["vicregl"])
        if self.sam_weight > 0:
            sam = self._sam_terms(embeddings, batch)
            terms |= {"sam": torch.stack(sam).sum(), **{f"sam_{name}": term for name, term in sam._asdict().items()}}
            weighted.append(self.sam_weight * terms["sam"])
        if self.head is not None:
            if views.labelled is None:
                raise ValueError("batch must hold labelled images for the head, got none")
            logits = self.predict(views.labelled.image)
            terms["segmentation"] = F.cross_entropy(logits.float(), views.labelled.label)
            weighted.append(terms["segmentation"])
        return {"loss": torch.stack(weighted).sum(), **terms}

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (b, num_classes, H, W) of images (b, 3, H, W).

        Raises:
            RuntimeError: The model has no head.
        """
        if self.head is None:
            raise RuntimeError("the model has no head: it was made to train the backbone alone")
        size = (images.shape[-2], images.shape[-1])
        logits: Tensor = self.head(self.backbone(images), size).logits
        return logits

    def project(self, images: Tensor) -> Tensor:
        """Return the local projector's embeddings (b, d, h, w) of images (b, 3, H, W)."""
        embeddings: Tensor = self.projector(self.backbone(images)[-1])
        return embeddings

    def _maps(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the last map of each view; neighbours of one size go through the backbone together."""
        maps: list[Tensor] = []
        for _, group in groupby(images, key=lambda image: image.shape):
            same = list(group)
            maps += self.backbone(torch.cat(same))[-1].chunk(len(same))
        return maps

    def _sam_terms(self, embeddings: Tensor, batch: MatchedViewSet) -> VICRegTerms:
        """The mean over pairs of views and directions: of each search, all pairs are slots of one call."""
        sums = []
        for search, matches in zip(self.searches, batch.segment_matches, strict=True):
            # "equations" sums over the slots, so that the mean over the pairs is still to be taken.
            pairs = len(search.sources) if self.sam.convention == "equations" else 1
            terms = self.sam.terms(embeddings, embeddings, matches)
            sums.append(search.weight / pairs * torch.stack(terms))
        return VICRegTerms(*torch.stack(sums).sum(0))

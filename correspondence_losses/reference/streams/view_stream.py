"""View sets as a data set: each is a function of the seed and its index."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from correspondence_losses.correspond import MultiCrop
from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.seeding import FrameOrder, seeded
from correspondence_losses.reference.segments import SegmentCache
from correspondence_losses.reference.streams.arrangements import Arrangement, PlacedView
from correspondence_losses.reference.streams.crop import labels_at
from correspondence_losses.reference.streams.images import Augmentation, as_image, as_mask
from correspondence_losses.reference.streams.picture import SeedFrame
from correspondence_losses.reference.streams.view_set import LabelledImages, ViewSet

__all__ = ["ViewStream"]

_FRAMES, _VIEWS = 4, 5


class ViewStream(Dataset[ViewSet]):
    """Endless view sets, each a function of the seed and its index alone, whichever process asks for it.

    To be batched with :func:`~correspondence_losses.reference.streams.collate_views`.

    Args:
        frames: The seed frames, each with the source that reads it and the cache of its segments, or None for none:
            either all of them or none must have a cache.
        arrangement: Which images the views are cut from.
        crops: How many views, of which sizes.
        seed: Seed of the run.
        labelled_size: (H, W) of the labelled images that go with the view sets. Default: none.
        augmentation: What is done to those.

    Raises:
        ValueError: There is no frame, or only some have a cache.
    """

    def __init__(
        self,
        frames: Sequence[tuple[FrameSource, str, SegmentCache | None]],
        arrangement: Arrangement,
        *,
        crops: MultiCrop,
        seed: int,
        labelled_size: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        if not frames:
            raise ValueError("frames must hold at least one frame, got none")
        if len({cache is None for _, _, cache in frames}) > 1:
            raise ValueError("frames must all have a cache of segments or all have none, got both")
        self.frames = frames
        self.arrangement = arrangement
        self.crops = crops
        self.seed = seed
        self.order = FrameOrder(len(frames), seed, _FRAMES)
        self.distortion = crops.distortion.build()
        self.label_transform = None
        if labelled_size is not None:
            self.label_transform = (augmentation or Augmentation()).build(labelled_size)

    def __getitem__(self, index: int) -> ViewSet:
        """Return the view set at ``index`` of the endless stream, with b = 1."""
        _, placed, labelled = self.placed(index)
        with seeded(self.seed, _VIEWS, index, 1):
            return self._view_set(placed, self._labelled(labelled))

    def placed(self, index: int) -> tuple[SeedFrame, list[PlacedView], SeedFrame]:
        """Return what the view set at ``index`` is made of: its seed frame, its crops, and its labelled frame."""
        source, name, cache = self.frames[self.order[index]]
        seed = SeedFrame(source, name, cache, background=self.order.round(index))
        with seeded(self.seed, _VIEWS, index, 0):
            placed = self.arrangement.place(seed, self.crops)
            return seed, placed, self.arrangement.labelled(seed)

    def _view_set(self, placed: list[PlacedView], labelled: LabelledImages | None) -> ViewSet:
        pictures = list(dict.fromkeys(view.picture for view in placed))
        grids = [view.picture.locate(view.crop.grid(self.crops.cells(view.size))) for view in placed]
        segments, cell_segments = [], []
        for view, grid in zip(placed, grids, strict=True):
            if view.picture.segments is not None:
                pixels = view.picture.locate(view.crop.grid(view.size))
                segments.append(labels_at(view.picture.segments, pixels))
                cell_segments.append(labels_at(view.picture.segments, grid))
        return ViewSet(
            images=tuple(self.distortion(view.crop.cut(view.picture.image, view.size))[None] for view in placed),
            grids=tuple(grids),
            segments=tuple(segments),
            cell_segments=tuple(cell_segments),
            boxes=torch.tensor([[view.crop[:4] for view in placed]], dtype=torch.float32),
            flips=torch.tensor([[view.crop.flip for view in placed]]),
            pictures=torch.tensor([[pictures.index(view.picture) for view in placed]]),
            num_large=self.crops.num_large,
            labelled=labelled,
        )

    def _labelled(self, frame: SeedFrame) -> LabelledImages | None:
        if self.label_transform is None:
            return None
        image, label = self.label_transform(as_image(frame.image), as_mask(frame.source.label(frame.name)))
        return LabelledImages(image[None], label[None])

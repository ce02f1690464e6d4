"""Training samples of the segmentation family: a labelled image, and an unlabelled one with its segments."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from correspondence_losses.reference.data import FrameSource, lay_over
from correspondence_losses.reference.seeding import FrameOrder, derive_seed, seeded
from correspondence_losses.reference.segments import SegmentCache
from correspondence_losses.reference.streams.clutter import lay_shapes
from correspondence_losses.reference.streams.images import Augmentation, as_image, as_mask
from correspondence_losses.reference.streams.kept import KeptArrays

__all__ = ["AUGMENTATION", "LabelledPicture", "SampleStream", "collate_samples"]

AUGMENTATION = 3
"""Tells the changes of the images apart from the other random choices of a sample."""
_LABELLED, _UNLABELLED, _PASTED, _CLUTTER = 1, 2, 6, 7
_BEHIND, _LARGE = (2, 15), (0.08, 0.6)
_BEFORE, _SMALL = (1, 3), (0.05, 0.25)
_TABLE, _OBJECTS, _PASTED_OBJECTS, _SHAPES_BEFORE = 1000, 2000, 3000, 4000


class LabelledPicture(NamedTuple):
    """A labelled image as it is trained on, before its colours change.

    Attributes:
        image: ``uint8`` (H, W, 3).
        label: The class of each pixel, (H, W).
        things: Another number for each thing that the image was put together from, (H, W): the objects, and what has no
            label, the shapes of the clutter, the table and the background, which is 0.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int64]
    things: NDArray[np.int64]


def collate_samples(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Join samples along the batch, as the ``collate_fn`` of a data loader.

    With segments, the batch also holds ``num_segments``, a number that their labels are below: on an accelerator the
    loss would have to wait to find it.
    """
    batch: dict[str, Any] = default_collate(list(samples))
    if "segments" in batch:
        batch["num_segments"] = int(batch["segments"].max()) + 1
    return batch


class SampleStream(Dataset[dict[str, Tensor]]):
    """Endless training samples, each a function of the seed and its index alone.

    A sample holds ``image`` (3, H, W) and ``label`` (H, W); with unlabelled frames, also ``unlabelled_image``
    (3, H, W) and, where they are segmented, ``segments`` (H, W), where 0 is no segment. To be batched with
    :func:`collate_samples`.

    Args:
        labelled: Frames with labels, each with the source that reads it.
        unlabelled: Frames without, each with its source and the cache of its segments, or None; empty for none.
        size: (H, W) that images are resized to.
        augmentation: What is done to each image.
        seed: Seed of the run.
    """

    def __init__(
        self,
        labelled: Sequence[tuple[FrameSource, str]],
        unlabelled: Sequence[tuple[FrameSource, str, SegmentCache | None]],
        *,
        size: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.seed = seed
        self.augmentation = augmentation
        self.kept = KeptArrays()
        self.geometry, self.colors = augmentation.geometry(size), augmentation.colors()
        self.labelled_order = FrameOrder(len(labelled), seed, _LABELLED)
        self.pasted_order = FrameOrder(len(labelled), seed, _PASTED)
        self.unlabelled_order = FrameOrder(len(unlabelled), seed, _UNLABELLED) if unlabelled else None

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        with seeded(self.seed, AUGMENTATION, index):
            picture = self._labelled(index)
            sample = {"image": self._colored(picture.image), "label": torch.from_numpy(picture.label)}
            if self.unlabelled_order is not None:
                unlabelled, segments = self._unlabelled(self.unlabelled_order[index])
                sample["unlabelled_image"] = self._colored(unlabelled)
                if segments is not None:
                    sample["segments"] = torch.from_numpy(segments)
            return sample

    def _unlabelled(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        """Return an unlabelled image and its segments, if it has such."""
        source, frame, cache = self.unlabelled[position]
        cutout = self._cutout(source, frame)
        if cache is None:
            labels = np.zeros(cutout.shape[:2], np.int64)
        else:
            labels = self.kept.get((cache, frame), lambda: cache.load(frame))
        cutout, segments = self._placed(cutout, labels)
        image = cutout[..., :3]
        if cutout[..., 3].min() < 255:  # most windows lie inside the image, and hide what is behind it
            image = lay_over(cutout, source.background.render(segments.shape, frame, 0))
        return image, None if cache is None else segments

    def _labelled(self, index: int) -> LabelledPicture:
        """Return objects before a background, with others pasted onto them, and clutter."""
        rng = np.random.default_rng(derive_seed(self.seed, _CLUTTER, index))
        source, frame = self.labelled[self.labelled_order[index]]
        cutout, label = self._placed(self._cutout(source, frame), self._label(source, frame))
        behind = source.background.render(label.shape, frame, self.labelled_order.round(index)).copy()
        things = np.zeros_like(label)
        clutter = self.augmentation.clutter
        if rng.random() < clutter:
            things = lay_shapes(behind, rng, source.background, count=_BEHIND, size=_LARGE)
        things[cutout[..., 3] > 127] = _TABLE
        things[label > 0] = _OBJECTS + label[label > 0]
        picture = LabelledPicture(lay_over(cutout, behind), label, things)
        if rng.random() < self.augmentation.copy_paste:
            self._paste(picture, rng, index)
        if rng.random() < clutter:
            shapes = lay_shapes(picture.image, rng, source.background, count=_BEFORE, size=_SMALL)
            label[shapes > 0] = 0
            things[shapes > 0] = _SHAPES_BEFORE + shapes[shapes > 0]
        return picture

    def _paste(self, picture: LabelledPicture, rng: np.random.Generator, index: int) -> None:
        """Paste some objects of another labelled image, in place."""
        source, frame = self.labelled[self.pasted_order[index]]
        cutout, other = self._placed(self._cutout(source, frame), self._label(source, frame))
        classes = np.unique(other[other > 0])
        if len(classes):
            chosen = rng.choice(classes, int(rng.integers(1, len(classes) + 1)), replace=False)
            mask = np.isin(other, chosen)
            picture.image[mask], picture.label[mask] = cutout[mask][:, :3], other[mask]
            picture.things[mask] = _PASTED_OBJECTS + other[mask]

    def _cutout(self, source: FrameSource, frame: str) -> NDArray[np.uint8]:
        """Return the image of a frame, RGBA."""

        def read() -> NDArray[np.uint8]:
            cutout = source.cutout(frame)
            if cutout.shape[2] == 4:
                return cutout
            return np.dstack([cutout, np.full(cutout.shape[:2], 255, np.uint8)])

        return self.kept.get((source, frame, "cutout"), read)

    def _label(self, source: FrameSource, frame: str) -> NDArray[np.integer]:
        return self.kept.get((source, frame, "label"), lambda: source.label(frame))

    def _placed(
        self, cutout: NDArray[np.uint8], labels: NDArray[np.integer]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return an RGBA image and its labels after the changes of geometry; it is transparent outside."""
        image, mask = self.geometry(as_image(cutout), as_mask(labels))
        return image.permute(1, 2, 0).numpy(), mask.numpy()

    def _colored(self, image: NDArray[np.uint8]) -> Tensor:
        tensor: Tensor = self.colors(as_image(image))
        return tensor

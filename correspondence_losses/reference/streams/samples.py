"""Training samples of the segmentation family: a labelled image, and an unlabelled one with its segments."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.seeding import FrameOrder, derive_seed
from correspondence_losses.reference.segments import SegmentCache
from correspondence_losses.reference.streams.images import Augmentation, as_image, as_mask

__all__ = ["SampleStream"]

_LABELLED, _UNLABELLED, _AUGMENTATION = 1, 2, 3


class SampleStream(Dataset[dict[str, Tensor]]):
    """Endless training samples, each a function of the seed and its index alone.

    A sample holds ``image`` (3, H, W) and ``label`` (H, W); with unlabelled frames, also ``unlabelled_image``
    (3, H, W) and, where they are segmented, ``segments`` (H, W), where 0 is no segment.

    Args:
        labelled: Frames with labels, each with the source that reads it.
        unlabelled: Frames without, each with its source and the cache of its segments, or None; empty for none.
        size: (H, W) of the samples.
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
        self.transform = augmentation.build(size)
        self.labelled_order = FrameOrder(len(labelled), seed, _LABELLED)
        self.unlabelled_order = FrameOrder(len(unlabelled), seed, _UNLABELLED) if unlabelled else None

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, _AUGMENTATION, index))
            source, frame = self.labelled[self.labelled_order[index]]
            background = index // len(self.labelled)  # a transparent image gets another background each pass
            image, label = self._transformed(source.image(frame, background), source.label(frame))
            sample = {"image": image, "label": label}
            if self.unlabelled_order is not None:
                source, frame, cache = self.unlabelled[self.unlabelled_order[index]]
                if cache is None:
                    unlabelled: Tensor = self.transform(as_image(source.image(frame)))
                    sample["unlabelled_image"] = unlabelled.as_subclass(Tensor)
                else:
                    image, segments = self._transformed(source.image(frame), cache.load(frame))
                    sample |= {"unlabelled_image": image, "segments": segments}
            return sample

    def _transformed(self, image: NDArray[np.uint8], labels: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        transformed = self.transform(as_image(image), as_mask(labels))
        return tuple(tensor.as_subclass(Tensor) for tensor in transformed)

"""Training samples of the segmenter: labelled images and where the things in them meet."""

import torch
from skimage.segmentation import find_boundaries
from torch import Tensor

from correspondence_losses.reference.seeding import seeded
from correspondence_losses.reference.streams.samples import AUGMENTATION, SampleStream

__all__ = ["BoundaryStream"]


class BoundaryStream(SampleStream):
    """Endless training samples, each a function of the seed and its index alone.

    A sample holds ``image`` (3, H, W), an image as :class:`SampleStream` makes it, and ``boundary`` (H, W), bool: the
    pixels beside another thing, whether that has a label or not.
    """

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        with seeded(self.seed, AUGMENTATION, index):
            picture = self._labelled(index)
            boundary = find_boundaries(picture.things, mode="thick")  # type: ignore[no-untyped-call]
            return {"image": self._colored(picture.image), "boundary": torch.from_numpy(boundary)}

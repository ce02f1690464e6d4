"""Training samples of self-training: with mixed and masked images, and rare classes as often as others."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from correspondence_losses.functional import class_mix, mask_blocks
from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.seeding import FrameOrder, derive_seed, seeded
from correspondence_losses.reference.segments import SegmentCache
from correspondence_losses.reference.streams.images import Augmentation, as_image
from correspondence_losses.reference.streams.samples import SampleStream

__all__ = ["RareClassOrder", "SelfTrainingStream"]

_AUGMENTATION, _RARE, _MIX = 2, 8, 9
_SHOWN = 1e-3
_GREY = 0.5
_PLAIN = Augmentation().colors()


class RareClassOrder(FrameOrder):
    r"""Endless frames, drawn by class: rare classes come as often as frequent ones, or more often.

    A class is drawn with probability :math:`P(c) \propto \exp((1 - f_c) / T)`, with its share f of all pixels, and then
    one of the frames that show it on at least a thousandth of their pixels. The background, class 0, is not drawn.

    Args:
        labels: The label of each frame, (H, W).
        temperature: T, above 0: the smaller, the more often rare classes come.
        seed: Seed of the run.
        stream: Tells apart the orders of one run.

    Raises:
        ValueError: No label shows an object.

    Source:
        Hoyer, Dai and Van Gool, "DAFormer: Improving Network Architectures and Training Strategies for Domain-Adaptive
        Semantic Segmentation", 2022, eq. 10 and 11, with T = 0.01.

    Example:
        >>> labels = [np.full((1, 10), 1), np.full((1, 10), 1), np.array([[0] * 9 + [2]])]
        >>> order = RareClassOrder(labels, temperature=10.0, seed=0, stream=1)
        >>> round(sum(order[i] == 2 for i in range(1000)) / 1000, 1)  # though it is one of three frames
        0.5
    """

    def __init__(self, labels: Sequence[NDArray[np.integer]], *, temperature: float, seed: int, stream: int) -> None:
        super().__init__(len(labels), seed, stream)
        counts = np.stack([np.bincount(label.ravel(), minlength=256)[:256] for label in labels]).astype(float)
        shares = counts / counts.sum(1, keepdims=True)
        shares[:, 0] = 0
        shown = shares >= _SHOWN
        self.classes = np.flatnonzero(shown.any(0))
        if len(self.classes) == 0:
            raise ValueError("labels must show an object, all are background")
        frequency = counts.sum(0)[self.classes] / counts.sum()
        weights = np.exp((frequency.min() - frequency) / temperature)
        self.probabilities = weights / weights.sum()
        self._showing = [np.flatnonzero(shown[:, label]) for label in self.classes]
        self._place = (seed, stream)

    def __getitem__(self, index: int) -> int:
        """Return the frame at ``index`` of the endless order."""
        rng = np.random.default_rng(derive_seed(*self._place, index))
        return int(rng.choice(self._showing[int(rng.choice(len(self.classes), p=self.probabilities))]))


class SelfTrainingStream(SampleStream):
    """Endless training samples, each a function of the seed and its index alone.

    Besides what a sample of :class:`SampleStream` holds, it has ``plain_image`` (3, H, W), the unlabelled image without
    changes of its colours, for the teacher; ``mixed_image``, the unlabelled image with half of the classes of the
    labelled one pasted onto it, and where, ``pasted`` (H, W); and ``masked_image``, the unlabelled image with hidden
    blocks.

    Args:
        labelled: As for :class:`SampleStream`.
        unlabelled: As for :class:`SampleStream`, not empty.
        size: As for :class:`SampleStream`.
        augmentation: As for :class:`SampleStream`.
        seed: Seed of the run.
        rare_class_temperature: Of :class:`RareClassOrder`; 0 takes each labelled image as often as any other.
        mask_block: Side of a hidden block in pixels.
        mask_ratio: Probability that a block is hidden.
    """

    def __init__(
        self,
        labelled: Sequence[tuple[FrameSource, str]],
        unlabelled: Sequence[tuple[FrameSource, str, SegmentCache | None]],
        *,
        size: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        rare_class_temperature: float,
        mask_block: int,
        mask_ratio: float,
    ) -> None:
        super().__init__(labelled, unlabelled, size=size, augmentation=augmentation, seed=seed)
        self.mask_block = mask_block
        self.mask_ratio = mask_ratio
        if rare_class_temperature > 0:
            labels = [source.label(frame) for source, frame in labelled]
            self.labelled_order = RareClassOrder(labels, temperature=rare_class_temperature, seed=seed, stream=_RARE)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        if self.unlabelled_order is None:
            return super().__getitem__(index)
        with seeded(self.seed, _AUGMENTATION, index):
            picture = self._labelled(index)
            unlabelled, segments = self._unlabelled(self.unlabelled_order[index])
            image, label = self._colored(picture.image), torch.from_numpy(picture.label)
            colored = self._colored(unlabelled)
            plain: Tensor = _PLAIN(as_image(unlabelled))
        with seeded(self.seed, _MIX, index):
            # The pseudo labels of the pixels that are not pasted come later, from the model.
            num_classes = int(label.max()) + 1
            mixed = class_mix(image[None], label[None], colored[None], torch.zeros_like(label)[None], num_classes)
            masked = mask_blocks(colored[None], self.mask_block, self.mask_ratio, value=_GREY)
        sample = {
            "image": image,
            "label": label,
            "unlabelled_image": colored,
            "plain_image": plain,
            "mixed_image": mixed.images[0],
            "pasted": mixed.pasted[0],
            "masked_image": masked.images[0],
        }
        return sample if segments is None else {**sample, "segments": torch.from_numpy(segments)}

"""Training samples of the segmentation family: a labelled image, and an unlabelled one with its segments."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import tv_tensors
from torchvision.transforms import v2

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.presegmentation import SegmentCache
from correspondence_losses.reference.seeding import FrameOrder, derive_seed

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "SampleStream",
    "StepSampler",
    "as_image",
    "as_mask",
    "image_to_tensor",
    "loader",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LABELLED, _UNLABELLED, _AUGMENTATION = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of a training image; label and segments follow the geometric ones.

    Args:
        crop_scale: Range of a random crop's area, as a part of the image's; (1, 1) takes the whole image.
        crop_ratio: Range of the crop's aspect ratio, as a factor on the image's own.
        flip: Probability of a horizontal flip.
        jitter: Strength of the change of brightness, contrast and saturation, 0 for none; hue changes by a quarter.
        grayscale: Probability of a grey image.
        blur: Probability of a Gaussian blur.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0

    def build(self, size: tuple[int, int]) -> v2.Compose:
        """Return the transform to images of ``size``, normalised as the backbones want them."""
        if self.crop_scale == (1.0, 1.0):
            geometry: v2.Transform = v2.Resize(size, antialias=True)
        else:
            aspect = size[1] / size[0]
            low, high = self.crop_ratio
            geometry = v2.RandomResizedCrop(size, self.crop_scale, (low * aspect, high * aspect), antialias=True)
        steps: list[v2.Transform] = [geometry]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.jitter:
            steps.append(v2.ColorJitter(self.jitter, self.jitter, self.jitter, self.jitter / 4))
        if self.grayscale:
            steps.append(v2.RandomGrayscale(self.grayscale))
        if self.blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.1, 2.0))], self.blur))
        return v2.Compose([*steps, *_NORMALIZE])


_NORMALIZE = (
    v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
    v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
)


def image_to_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """An (H, W, 3) image as a normalised (3, *size) tensor, without augmentation."""
    tensor: Tensor = v2.Compose([v2.Resize(size, antialias=True), *_NORMALIZE])(as_image(image))
    return tensor.as_subclass(Tensor)


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


class StepSampler(Sampler[list[int]]):
    """The sample indices of each batch of one process, from a step on.

    All processes together take the samples of step s from ``s * global_batch`` on, so that the samples of a step
    depend neither on the number of processes that share them, nor on that of the batches they come in.

    Args:
        start: First step.
        stop: The step to stop before.
        batch_size: Samples of a batch of one process.
        rank: Number of the process.
        world_size: Number of processes.
        accumulate: Batches of a step.

    Example:
        >>> list(StepSampler(start=1, stop=3, batch_size=2, rank=1, world_size=2))
        [[6, 7], [10, 11]]
    """

    def __init__(
        self, *, start: int, stop: int, batch_size: int, rank: int, world_size: int, accumulate: int = 1
    ) -> None:
        self.batches = range(start * accumulate, stop * accumulate)
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of one batch after another."""
        for batch in self.batches:
            first = (batch * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)


def loader(
    stream: Dataset[Any], sampler: StepSampler, num_workers: int, collate: Callable[[list[Any]], Any]
) -> DataLoader[Any]:
    """Return the batches of a stream, read by worker processes."""
    return DataLoader(
        stream,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_to_the_trainer,
    )


def _leave_signals_to_the_trainer(_worker: int) -> None:
    # Ctrl-C and schedulers signal the whole group of processes; a worker that dies of it takes the run with it before
    # the trainer has saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def as_image(image: NDArray[np.uint8]) -> tv_tensors.Image:
    """Return an (H, W, 3) image as what the transforms take for one."""
    return tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))


def as_mask(labels: NDArray[np.integer]) -> tv_tensors.Mask:
    """Return (H, W) labels as what the transforms take for such: they are moved, and never interpolated."""
    return tv_tensors.Mask(torch.from_numpy(labels.astype(np.int64)))

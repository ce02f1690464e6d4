"""Training samples of paired images: renders with labels, and the real frames whose poses they have."""

from torch import Tensor
from torch.utils.data import Dataset

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.seeding import FrameOrder, seeded
from correspondence_losses.reference.streams.images import Augmentation, as_image, as_mask

__all__ = ["PairStream"]

_ORDER, _AUGMENTATION = 1, 2


class PairStream(Dataset[dict[str, Tensor]]):
    """Endless training samples of paired images, each a function of the seed and its index alone.

    A sample holds ``image`` (3, H, W) and ``label`` (H, W) of the render, and ``unlabelled_image`` (3, H, W), the real
    one, with the same crop, flip and changes of colour.

    Args:
        frames: Real frames, each with the source that reads it.
        renders: Their counterparts, under the frames' own ids.
        size: (H, W) of the samples.
        augmentation: What is done to each pair.
        seed: Seed of the run.
    """

    def __init__(
        self,
        frames: list[tuple[FrameSource, str]],
        renders: FrameSource,
        *,
        size: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.frames = frames
        self.renders = renders
        self.seed = seed
        self.transform = augmentation.build(size)
        self.order = FrameOrder(len(frames), seed, _ORDER)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        source, frame = self.frames[self.order[index]]
        images = [as_image(self.renders.image(frame)), as_image(source.image(frame))]
        with seeded(self.seed, _AUGMENTATION, index):
            image, unlabelled, label = self.transform(*images, as_mask(self.renders.label(frame)))
        return {"image": image, "label": label, "unlabelled_image": unlabelled}

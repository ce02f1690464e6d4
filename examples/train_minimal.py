"""The whole method on one page: labels of synthetic images, segments of real ones (thesis, eq. 4.8), in plain PyTorch.

    correspondence-losses scenes generate SCENES       # rendered scenes of two domains, in YCB-Video's layout
    python examples/train_minimal.py SCENES            # or the folder of YCB-Video itself

It learns from the labels of `data_syn` and from the segments of the frames in `image_sets/train.txt`, whose labels it
never reads, and is scored on the frames in `image_sets/keyframe.txt`. `--weight 0` trains without the segments.
"""

import argparse
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from skimage.segmentation import felzenszwalb
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, Dataset, RandomSampler
from tqdm import tqdm

from correspondence_losses import FPNFusionHead, HeadOutput, SAMPoolingBlock

NUM_CLASSES = 22  # the 21 objects of YCB-Video, and 0 for the background
HEIGHT, WIDTH = 96, 128
IMAGENET_MEAN, IMAGENET_STD = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def read_image(frame: Path) -> Image.Image:
    """Read a frame's colours at the size that is trained on; synthetic ones may be transparent."""
    image = Image.open(f"{frame}-color.png").convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", image.size, (124, 116, 104)), image)
    return opaque.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def to_tensor(image: Image.Image) -> Tensor:
    """Return an image (3, H, W), normalised as the weights of the backbone want it."""
    return (torch.from_numpy(np.array(image)).movedim(-1, 0) / 255 - IMAGENET_MEAN) / IMAGENET_STD


class LabelledFrames(Dataset[tuple[Tensor, Tensor]]):
    """Images (3, H, W) and the class of each pixel (H, W)."""

    def __init__(self, frames: list[Path]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        label = Image.open(f"{self.frames[index]}-label.png").resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
        return to_tensor(read_image(self.frames[index])), torch.from_numpy(np.array(label)).long()


class SegmentedFrames(Dataset[tuple[Tensor, Tensor]]):
    """Images (3, H, W) and their segments (H, W), which may come from Segment Anything as well; 0 is no segment."""

    def __init__(self, frames: list[Path]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = read_image(self.frames[index])
        segments = felzenszwalb(np.array(image), scale=100, sigma=0.5, min_size=50) + 1
        return to_tensor(image), torch.from_numpy(segments)


class SegmentationModel(nn.Module):
    """A backbone of timm with a feature pyramid."""

    def __init__(self, backbone: str, pretrained: bool, channels: int) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, features_only=True, pretrained=pretrained)
        self.head = FPNFusionHead(self.backbone.feature_info.channels(), NUM_CLASSES, channels)

    def forward(self, images: Tensor) -> HeadOutput:
        """Return the logits (b, classes, H, W) of images, and the features (b, channels, H, W) that they come from."""
        return self.head(self.backbone(images), (HEIGHT, WIDTH))


@torch.no_grad()
def mean_iou(model: nn.Module, frames: list[Path]) -> float:
    """Score predictions at the size of the labels: the mean over the classes that the labels hold."""
    confusion = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.long)
    for frame in frames:
        label = torch.from_numpy(np.array(Image.open(f"{frame}-label.png"))).long()
        logits = model(to_tensor(read_image(frame))[None])[0]
        predicted = interpolate(logits, label.shape, mode="bilinear")[0].argmax(0)
        confusion += torch.bincount((NUM_CLASSES * label + predicted).flatten(), minlength=NUM_CLASSES**2).view(
            NUM_CLASSES, NUM_CLASSES
        )
    hits, truth, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return (hits / (truth + found - hits))[truth > 0].mean().item()


def main() -> None:
    """Train and score a model as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder in the original layout of YCB-Video")
    parser.add_argument("--weight", type=float, default=0.05, help="of the pooling loss")
    parser.add_argument("--backbone", default="convnext_atto", help="a model of timm without batch normalisation")
    parser.add_argument("--pretrained", action="store_true", help="start from timm's weights, which it downloads")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)

    synthetic = sorted(Path(str(path).removesuffix("-color.png")) for path in options.data.glob("data_syn/*-color.png"))
    real, test = (
        [options.data / "data" / line for line in (options.data / "image_sets" / name).read_text().split()]
        for name in ("train.txt", "keyframe.txt")
    )
    model = SegmentationModel(options.backbone, options.pretrained, channels=32)
    pooling = SAMPoolingBlock(in_channels=32)  # needed in training alone
    optimizer = torch.optim.AdamW([*model.parameters(), *pooling.parameters()], lr=1e-3)

    def batches(frames: Dataset[tuple[Tensor, Tensor]]) -> DataLoader[tuple[Tensor, Tensor]]:
        sampler = RandomSampler(frames, replacement=True, num_samples=options.steps * options.batch_size)
        return DataLoader(frames, options.batch_size, sampler=sampler)

    both = zip(batches(LabelledFrames(synthetic)), batches(SegmentedFrames(real)), strict=True)
    for (images, labels), (unlabelled, segments) in (progress := tqdm(both, total=options.steps, disable=None)):
        supervised = cross_entropy(model(images).logits, labels)
        pooled, _ = pooling(model(unlabelled).features, segments)
        loss = supervised + options.weight * pooled
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.set_postfix(supervised=supervised.item(), pooled=pooled.item())

    print(f"mean IoU {100 * mean_iou(model.eval(), test):.2f} % on {len(test)} frames of {options.data}")


if __name__ == "__main__":
    main()

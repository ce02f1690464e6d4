"""The digit table: domain adaptation for segmentation that anyone can repeat, on a laptop and without a download.

    pip install 'correspondence-losses[digits]'
    python examples/digits.py --output runs/digits      # all methods, six seeds

Labelled images show rendered digits, in the fonts that come with matplotlib, on noise in random colours; unlabelled and
test images show the handwritten digits of scikit-learn on photographs of scikit-image. Digits and photographs of the
test are others than those of the training. Every method trains the same small network for the same number of steps, and
is scored by the mean IoU over the ten digits and the background; "votes" is the same prediction averaged over segments.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import t
from skimage import data as photographs
from skimage.color import gray2rgb
from skimage.segmentation import felzenszwalb
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from tqdm import tqdm

from correspondence_losses import (
    EMATeacher,
    FeatureDiscriminator,
    FPNFusionHead,
    HeadOutput,
    MinimaxLoss,
    SAMPoolingBlock,
    adapt_batch_norm,
    class_mix,
    coral_loss,
    entropy_loss,
    mask_blocks,
    masked_consistency_loss,
    mmd_loss,
    prototype_alignment_loss,
    segment_vote,
)

HEIGHT, WIDTH = 64, 96
NUM_CLASSES = 11  # 0 is the background, 1 to 10 the digits 0 to 9
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "cmr10", "cmss10",
)  # fmt: skip
TRAINING_PICTURES, TEST_PICTURES = ("astronaut", "brick", "coffee", "gravel"), ("chelsea", "grass", "rocket")


@dataclass(frozen=True)
class Images:
    """Images of one domain.

    Args:
        images: (n, 3, H, W), values from 0 to 1.
        labels: (n, H, W), the class of each pixel.
        segments: (n, H, W), Felzenszwalb's segments, from 1.
    """

    images: Tensor
    labels: Tensor
    segments: Tensor


@cache
def handwritten() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits (1797, 8, 8), values from 0 to 1, and which they are."""
    digits = load_digits()
    return digits.images / 16, digits.target


def rendered_mask(digit: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return how much ink a rendered digit has at each pixel, (side, side)."""
    folder = Path(mpl.get_data_path()) / "fonts/ttf"
    font = ImageFont.truetype(str(folder / f"{rng.choice(FONTS)}.ttf"), size=int(side * rng.uniform(0.8, 1.1)))
    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).text((side / 2, side / 2), str(digit), 255, font=font, anchor="mm")
    picture = picture.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)
    pixels = int(rng.integers(8, 20))  # as coarse as the handwritten ones, which have eight, or finer
    coarse = picture.resize((pixels, pixels), Image.Resampling.BOX).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(np.array(coarse) / 255 * rng.uniform(1, 1.6), 0, 1)


def handwritten_mask(index: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the same of a handwritten digit."""
    small = Image.fromarray((255 * handwritten()[0][index]).astype(np.uint8))
    picture = small.resize((side, side), Image.Resampling.BICUBIC)
    return np.array(picture.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)) / 255


def noise(rng: np.random.Generator) -> np.ndarray:
    """Return a background of noise in random colours or in one, (H, W, 3), smooth or with detail at all scales."""
    total, strength = np.zeros((HEIGHT, WIDTH, 3)), rng.uniform(0.3, 0.9)
    for octave, cells in enumerate((3, 6, 12, 24, 48)):
        grid = Image.fromarray(rng.integers(0, 256, (2 * cells // 3, cells, 3)).astype(np.uint8))
        total += np.array(grid.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) * strength**octave
    total = (total - total.min()) / (total.max() - total.min())
    return total if rng.random() < 0.5 else total.mean(2, keepdims=True) * rng.uniform(0.5, 1, 3)


def photograph(names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a window of a photograph, (H, W, 3)."""
    picture = getattr(photographs, str(rng.choice(names)))()
    picture = gray2rgb(picture) if picture.ndim == 2 else picture
    scale = rng.uniform(1, 3)
    height, width = int(HEIGHT * scale), int(WIDTH * scale)
    top, left = rng.integers(picture.shape[0] - height + 1), rng.integers(picture.shape[1] - width + 1)
    window = Image.fromarray(picture[top : top + height, left : left + width])
    return np.array(window.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)) / 255


def draw(count: int, background: Callable, mask_and_digit: Callable, rng: np.random.Generator) -> Images:
    """Draw images of two or three digits in one colour each, that stands out from what is behind."""
    images, labels = np.empty((count, HEIGHT, WIDTH, 3), np.float32), np.zeros((count, HEIGHT, WIDTH), np.int64)
    for image, label in zip(images, labels, strict=True):
        image[:] = background(rng)
        for column in rng.permutation(3)[: rng.integers(2, 4)]:
            side = int(rng.integers(26, 32))
            mask, digit = mask_and_digit(side, rng)
            top, left = rng.integers(HEIGHT - side), 32 * column + rng.integers(33 - side)
            place = np.s_[top : top + side, left : left + side]
            behind = image[place].mean((0, 1))
            ink = rng.uniform(0, 1, 3)
            while abs(ink - behind).sum() < 0.9:
                ink = rng.uniform(0, 1, 3)
            image[place] += mask[..., None] * (ink - image[place])
            label[place][mask > 0.4] = 1 + digit
    images = (images + rng.normal(0, 0.02, images.shape)).clip(0, 1).astype(np.float32)
    segments = np.stack([felzenszwalb(image, scale=40, sigma=0.5, min_size=20) + 1 for image in images])
    return Images(torch.from_numpy(images).movedim(-1, 1), torch.from_numpy(labels), torch.from_numpy(segments))


def domains(count: int, seed: int) -> tuple[Images, Images, Images]:
    """Return labelled images, unlabelled ones (whose labels only the upper bound sees), and those of the test."""
    rng = np.random.default_rng(seed)

    def print_(side: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        digit = int(rng.integers(10))
        return rendered_mask(digit, side, rng), digit

    def write(low: int, high: int) -> Callable:
        def mask_and_digit(side: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
            index = int(rng.integers(low, high))
            return handwritten_mask(index, side, rng), int(handwritten()[1][index])

        return mask_and_digit

    half = len(handwritten()[1]) // 2
    source = draw(count, noise, print_, rng)
    target = draw(count, lambda rng: photograph(TRAINING_PICTURES, rng), write(0, half), rng)
    test = draw(count // 2, lambda rng: photograph(TEST_PICTURES, rng), write(half, 2 * half), rng)
    return source, target, test


class Network(nn.Module):
    """A small network with a feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()),
                *(nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()),
            )
            for a, b in pairwise(widths)
        )
        self.head = FPNFusionHead(widths[1:], NUM_CLASSES, fpn_channels=32)
        self.to(memory_format=torch.channels_last)  # a quarter less time on a CPU

    def forward(self, images: Tensor) -> HeadOutput:
        """Return logits at the size of the images, and features at half of it."""
        maps = []
        features = images.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        output: HeadOutput = self.head(maps, (HEIGHT // 2, WIDTH // 2))
        return output._replace(logits=interpolate(output.logits, scale_factor=2.0, mode="bilinear"))


@dataclass(frozen=True)
class Method:
    """What is trained with, besides the labelled images; weights are 0 where a part is left out."""

    name: str
    entropy: float = 0.0
    coral: float = 0.0
    mmd: float = 0.0
    adversarial: float = 0.0
    prototypes: float = 0.0
    pooling: float = 0.0
    mix: float = 0.0
    mask: float = 0.0
    votes: bool = False
    adapt_norm: bool = False
    target_labels: bool = False

    @property
    def uses_target(self) -> bool:
        """Whether unlabelled images are trained on."""
        return self != Method(self.name, adapt_norm=self.adapt_norm)


METHODS = (
    Method("source only"),
    Method("AdaBN", adapt_norm=True),
    Method("entropy minimisation", entropy=0.03),
    Method("CORAL", coral=1.0),
    Method("MMD", mmd=0.1),
    Method("DANN", adversarial=0.01),
    Method("class prototypes", prototypes=0.1),
    Method("SAM pooling", pooling=0.05),
    Method("self-training (DACS)", mix=1.0),
    Method("DACS, votes of segments", mix=1.0, votes=True),
    Method("MIC", mix=1.0, mask=1.0),
    Method("MIC, votes of segments", mix=1.0, mask=1.0, votes=True),
    Method("MIC, votes of segments, SAM pooling", mix=1.0, mask=1.0, votes=True, pooling=0.05),
    Method("labels of the target", target_labels=True),
)


def some_vectors(features: Tensor, count: int = 128) -> Tensor:
    """Return random feature vectors (count, d) of maps (b, d, h, w)."""
    vectors = features.flatten(2).mT.flatten(0, 1)
    return vectors[torch.randint(len(vectors), (count,))]


def train(method: Method, source: Images, target: Images, *, steps: int, batch_size: int, seed: int) -> EMATeacher:
    """Train by one method, and return the average of the weights, which is scored."""
    torch.manual_seed(seed)
    network = Network()
    teacher = EMATeacher(network, momentum=0.99)
    pooling = SAMPoolingBlock(network.head.out_channels)
    discriminator = FeatureDiscriminator(32, num_downsamples=1, channels=32)
    game = MinimaxLoss()
    parameters = [*network.parameters(), *pooling.parameters(), *discriminator.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    rng = np.random.default_rng(seed)
    weight = torch.ones(NUM_CLASSES)
    weight[0] = 0.2  # nineteen of twenty pixels are background
    for step in range(steps):
        a, b = (torch.from_numpy(rng.integers(len(source.images), size=batch_size)) for _ in range(2))
        images, labels = source.images[a][:, torch.randperm(3)], source.labels[a]
        others, segments = target.images[b], target.segments[b]
        seen = [images]
        if method.uses_target:
            seen.append(others)
        ramp = min(1.0, max(0.0, 4 * step / steps - 1))  # labelled images alone at first: pseudo labels need a teacher
        if method.mix > 0 and ramp > 0:
            probabilities = teacher(others).logits.softmax(1)
            if method.votes:
                probabilities = segment_vote(probabilities, segments, 512).probabilities
            confidence, pseudo = probabilities.max(1)
            mixed = class_mix(images, labels, others, pseudo, NUM_CLASSES)
            seen.append(mixed.images)
            if method.mask > 0:
                seen.append(mask_blocks(others, 16, 0.5, value=0.5).images)
        outputs = network(torch.cat(seen))
        logits, features = outputs.logits.split(batch_size), outputs.features.split(batch_size)
        loss = cross_entropy(logits[0], labels, weight=weight)
        if method.target_labels:
            loss = loss + cross_entropy(logits[1], target.labels[b], weight=weight)
        if method.entropy:
            loss = loss + ramp * method.entropy * entropy_loss(logits[1])
        if method.coral:
            loss = loss + method.coral * coral_loss(some_vectors(features[0]), some_vectors(features[1]))
        if method.mmd:
            loss = loss + method.mmd * mmd_loss(some_vectors(features[0]), some_vectors(features[1]))
        if method.adversarial:
            coarse = outputs.pyramid[-1].split(batch_size)
            terms = game.terms(discriminator, coarse[0], coarse[1])
            loss = loss + ramp * method.adversarial * terms.generator + terms.discriminator
        if method.prototypes and ramp > 0:
            pseudo = logits[1].detach().argmax(1)
            loss = loss + ramp * method.prototypes * prototype_alignment_loss(
                features[0], labels[:, ::2, ::2], features[1], pseudo[:, ::2, ::2], num_segments=NUM_CLASSES
            )
        if method.pooling:
            loss = loss + method.pooling * pooling(features[1], segments).loss
        if method.mix > 0 and ramp > 0:
            sure = mixed.pasted | (confidence > 0.8)
            losses = cross_entropy(logits[2], mixed.labels, weight=weight, reduction="none")
            loss = loss + ramp * method.mix * (sure * losses).mean()
            if method.mask > 0:
                masked = masked_consistency_loss(logits[3], probabilities, threshold=0.8)
                loss = loss + ramp * method.mask * masked
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        teacher.update(network)
    if method.adapt_norm:
        adapt_batch_norm(teacher.module, target.images.split(batch_size))
    return teacher


@torch.no_grad()
def score(teacher: EMATeacher, test: Images) -> dict[str, float]:
    """Return the mean IoU over all classes, of the plain prediction and after the vote of segments."""
    confusion = {name: torch.zeros(NUM_CLASSES, NUM_CLASSES) for name in ("plain", "votes")}
    for images, labels, segments in zip(
        test.images.split(32), test.labels.split(32), test.segments.split(32), strict=True
    ):
        probabilities = teacher(images).logits.softmax(1)
        votes = segment_vote(probabilities, segments)
        for name, classes in (("plain", probabilities.argmax(1)), ("votes", votes.labels)):
            pairs = (NUM_CLASSES * labels + classes).flatten()
            confusion[name] += torch.bincount(pairs, minlength=NUM_CLASSES**2).view(NUM_CLASSES, -1)
    result = {}
    for name, found in confusion.items():
        hits = found.diagonal()
        result[name] = 100 * (hits / (found.sum(0) + found.sum(1) - hits)).nanmean().item()
    return result


def summary(scores: dict[str, dict[int, dict[str, float]]]) -> str:
    """Return the table: mean and standard deviation over the seeds, and the difference to the first row by seed."""
    lines = ["| method | mean IoU, % | with votes at prediction | against source only (95 % interval) | seeds |"]
    lines.append("| --- | --- | --- | --- | --- |")
    first = next(iter(scores.values()))
    for name, runs in scores.items():
        cells = []
        for way in ("plain", "votes"):
            values = [run[way] for run in runs.values()]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.1f}{spread}")
        differences = [runs[seed]["plain"] - first[seed]["plain"] for seed in runs if seed in first]
        if len(differences) > 1 and runs is not first:
            half = statistics.stdev(differences) / math.sqrt(len(differences)) * t.ppf(0.975, len(differences) - 1)
            cells.append(f"{statistics.fmean(differences):+.1f} ± {half:.1f}")
        else:
            cells.append("")
        lines.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines)


def main() -> None:
    """Train all methods with all seeds; the same command goes on where it was stopped."""
    names = [method.name for method in METHODS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/digits"), help="folder of the table")
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--images", type=int, default=400, help="labelled images, and as many unlabelled ones")
    parser.add_argument("--batch_size", type=int, default=8)
    chosen = parser.parse_args()
    settings = {"steps": chosen.steps, "images": chosen.images, "batch_size": chosen.batch_size}
    path = chosen.output / "results.json"
    content = json.loads(path.read_text()) if path.exists() else {"settings": settings, "scores": {}}
    if content["settings"] != settings:
        raise SystemExit(f"error: {path} is of other settings, {content['settings']}; give another --output")
    chosen.output.mkdir(parents=True, exist_ok=True)
    methods = [method for method in METHODS if method.name in chosen.methods]
    for seed in tqdm(chosen.seeds, desc="seeds", disable=None):
        source, target, test = domains(chosen.images, seed)
        for method in tqdm(methods, desc="methods", leave=False, disable=None):
            runs = content["scores"].setdefault(method.name, {})
            if str(seed) not in runs:
                teacher = train(method, source, target, steps=chosen.steps, batch_size=chosen.batch_size, seed=seed)
                runs[str(seed)] = score(teacher, test)
                path.write_text(json.dumps(content, indent=1))
    table = summary({name: content["scores"][name] for name in names if name in content["scores"]})
    (chosen.output / "results.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()

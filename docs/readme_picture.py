"""Draw ``static/pooling.png``, the README's picture: a rendered scene, its segments, and the projection as it learns.

Needs the extra ``scenes``. Run it from the root of the repository: ``python docs/readme_picture.py``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from PIL import Image

from correspondence_losses import FPNFusionHead, SAMPoolingBlock, paint_masks
from correspondence_losses.reference.scenes import SceneSettings, generate_scenes
from correspondence_losses.reference.segments import FelzenszwalbSegmenter

STEPS = (0, 10, 100)


def rendered_image() -> np.ndarray:
    """Render one image of the target domain."""
    settings = SceneSettings(num_synthetic=0, num_target=1, num_test=0, frames_per_video=1, min_objects=6, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        generate_scenes(Path(folder), settings)
        return np.array(Image.open(next(Path(folder).rglob("*-color.png"))).convert("RGB"))


def projections(image: np.ndarray, segments: np.ndarray) -> list[np.ndarray]:
    """Return the pooled projection after each of ``STEPS``, stretched to [0, 1]."""
    torch.manual_seed(0)
    images = torch.from_numpy(image).movedim(-1, 0)[None] / 255
    labels = torch.from_numpy(segments.astype(np.int64))[None]
    backbone = timm.create_model("resnet10t", features_only=True, pretrained=False)
    head = FPNFusionHead(backbone.feature_info.channels(), num_classes=2, fpn_channels=32)
    pooling = SAMPoolingBlock(in_channels=32)
    modules = torch.nn.ModuleList([backbone, head, pooling])
    optimizer = torch.optim.Adam(modules.parameters(), lr=2e-3)
    pictures = []
    for step in range(STEPS[-1] + 1):
        loss, projection = pooling(head(backbone(images), image.shape[:2]).features, labels)
        if step in STEPS:
            picture = projection[0].detach().movedim(0, -1)
            low, high = picture.flatten(0, 1).quantile(torch.tensor([0.01, 0.99]), dim=0)
            pictures.append(((picture - low) / (high - low)).clamp(0, 1).numpy())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return pictures


def main() -> None:
    """Draw the picture."""
    image = rendered_image()
    segments = paint_masks(FelzenszwalbSegmenter(min_size=150)(image)).numpy()
    colours = np.random.default_rng(1).uniform(0.15, 0.95, (int(segments.max()) + 1, 3))
    panels = {"image without labels": image, "its segments": colours[segments]}
    panels |= {f"features, step {n}": p for n, p in zip(STEPS, projections(image, segments), strict=True)}
    figure, axes = plt.subplots(1, len(panels), figsize=(12.5, 2.15), layout="constrained")
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    path = Path(__file__).parent / "static" / "pooling.png"
    figure.savefig(path, dpi=100)
    Image.open(path).convert("RGB").quantize(192).save(path, optimize=True)


if __name__ == "__main__":
    main()

"""
Gram anchoring on your own images
=================================

An encoder that is trained on with an objective for whole images forgets what its patches looked like to each other,
and dense tasks need that. Gram anchoring (DINOv3) keeps it: the similarities among a student's features should be
those among a teacher's, the encoder as it was. The teacher may see the images at a higher resolution.
"""

from copy import deepcopy

import timm
import torch
from pictures import photographs, show
from torch.nn import functional as F

from correspondence_losses import GramLoss, gram_loss

torch.manual_seed(0)
images = photographs("coffee", "astronaut", "chelsea", "rocket", size=(96, 96))
teacher = timm.create_model(
    "resnet10t", features_only=True, out_indices=[-2], pretrained=False
)  # yours: an encoder with weights that are worth keeping
teacher.eval().requires_grad_(False)


def train(weight: float) -> torch.nn.Module:
    """Train with an objective for whole images: each should be told from the others."""
    torch.manual_seed(0)
    student = deepcopy(teacher).requires_grad_(True)
    gram = GramLoss()
    targets = teacher(images)[0].flatten(2).mT  # (4, k, d): k patches of each image
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-4)
    for _ in range(25):
        noisy = images + 0.1 * torch.randn_like(images)
        maps = student(torch.cat([images, noisy]))[0]
        one, other = F.normalize(maps.mean((2, 3)), dim=1).chunk(2)
        loss = F.cross_entropy(one @ other.T / 0.1, torch.arange(4))
        loss = loss + weight * gram(maps[:4].flatten(2).mT, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student


# %%
# With and without the anchor: how far the similarities are from the teacher's, and how well images are told apart.

students = {f"weight {weight:g}": train(weight) for weight in (0.0, 10.0)}
with torch.no_grad():
    before = teacher(images)[0]
    for name, student in students.items():
        after = student(images)[0]
        distance = gram_loss(after.flatten(2).mT, before.flatten(2).mT)
        print(f"{name}: Gram distance to the teacher {distance:.4f}")

# %%
# The similarity of every patch to the one in the middle of the first image.


def similarity(features: torch.Tensor) -> torch.Tensor:
    """Return the similarity of each cell of the first map to its middle, (3, h, w)."""
    cells = F.normalize(features[0], dim=0)
    middle = cells[:, cells.shape[1] // 2, cells.shape[2] // 2]
    return torch.einsum("dhw,d->hw", cells, middle).expand(3, -1, -1)


with torch.no_grad():
    maps = {name: student(images)[0] for name, student in students.items()}
    show(
        {"image": images[0], "teacher": similarity(before)}
        | {n: similarity(m) for n, m in maps.items()}
    )

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
from pictures import photographs, show, similarity_to_middle

from correspondence_losses import gram_loss

torch.manual_seed(0)
images = photographs("coffee", "astronaut", "chelsea", "rocket", size=(96, 96))
# Yours is an encoder with weights that are worth keeping.
teacher = timm.create_model("resnet10t", features_only=True, out_indices=[-2]).eval()
before = teacher(images)[0].detach()  # (4, d, h, w)


def train(weight: float) -> torch.Tensor:
    """Train to tell each image from the others; return its features (4, d, h, w)."""
    torch.manual_seed(0)
    student = deepcopy(teacher)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-4)
    for _ in range(25):
        maps = student(torch.cat([images, images + 0.1 * torch.randn_like(images)]))[0]
        one, other = torch.nn.functional.normalize(maps.mean((2, 3)), dim=1).chunk(2)
        loss = torch.nn.functional.cross_entropy(one @ other.T / 0.1, torch.arange(4))
        loss = loss + weight * gram_loss(maps[:4].flatten(2).mT, before.flatten(2).mT)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student(images)[0].detach()


# %%
# Without and with the anchor: the Gram distance to the teacher.

pictures = {"image": images[0], "teacher": similarity_to_middle(before[0])}
for weight in (0.0, 10.0):
    after = train(weight)
    print(f"weight {weight:g}: {gram_loss(after.flatten(2).mT, before.flatten(2).mT):.4f}")
    pictures[f"weight {weight:g}"] = similarity_to_middle(after[0])

# %%
# The similarity of every patch to the one in the middle of the first image.

show(pictures)

"""
Self-training with votes of segments
====================================

Labelled images of one domain and unlabelled images of another. A teacher, the average of the model's weights, labels
the unlabelled images; segments make its labels better; the model learns from labelled objects pasted onto these images
(ClassMix), and from images with hidden blocks (masked consistency).
"""

import timm
import torch
from pictures import draw_scenes, show
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from correspondence_losses import (
    EMATeacher,
    FPNFusionHead,
    class_mix,
    mask_blocks,
    masked_consistency_loss,
    segment_vote,
)

torch.manual_seed(0)
labelled, labels = draw_scenes(16)  # flat colours
# texture, light, noise; the truth stays unseen
unlabelled, truth = draw_scenes(17, target=True, seed=1)
segments = truth + 1  # what a perfect segmenter would find; 0 means "no segment"


class Model(nn.Module):
    """Any network from images to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            "resnet10t", features_only=True, out_indices=(0, 1, 2), pretrained=False
        )
        self.head = FPNFusionHead(
            self.backbone.feature_info.channels(), num_classes=4, fpn_channels=32
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images), size=images.shape[-2:]).logits


model = Model()
teacher = EMATeacher(model, momentum=0.9)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

# %%
# The first steps see labelled images alone, since pseudo labels of an untrained teacher teach nothing. A pixel counts
# where the teacher is sure. The share of the background in the pseudo labels is worth a look: where it goes to 1, all
# objects are lost.

for step in range(81):
    batch = torch.randperm(16)[:2]
    images, others = labelled[batch], unlabelled[batch]
    loss = cross_entropy(model(images), labels[batch])
    if step >= 40:
        votes = segment_vote(teacher(others).softmax(1), segments[batch])
        mixed = class_mix(images, labels[batch], others, votes.labels, num_classes=4)
        sure = mixed.pasted | (votes.probabilities.amax(1) > 0.6)
        each = cross_entropy(model(mixed.images), mixed.labels, reduction="none")
        loss = loss + (sure * each).mean()
        masked = mask_blocks(others, block_size=16)
        loss = loss + masked_consistency_loss(
            model(masked.images), votes.probabilities, threshold=0.6
        )
        if step % 20 == 0:
            background = (votes.labels == 0).float().mean()
            true = (labels == 0).float().mean()
            print(
                f"step {step}: background {background:.0%} of the pseudo labels, {true:.0%}"
            )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    teacher.update(model)

# %%
# What the last batch was: an unlabelled image, what the teacher and the segments make of it, the mixed image with its
# labels, and hidden blocks.

show(
    {
        "unlabelled": others[0],
        "pseudo labels": votes.labels[0],
        "mixed": mixed.images[0],
        "hidden": masked.images[0],
    }
)

# %%
# An unlabelled image that the network has not seen: its prediction, and the vote of segments, which needs no training.

logits = teacher(unlabelled[16:])
votes = segment_vote(logits.softmax(1), segments[16:])
show(
    {
        "image": unlabelled[16],
        "prediction": logits[0].argmax(0),
        "votes": votes.labels[0],
        "truth": truth[16],
    }
)

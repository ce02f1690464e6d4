"""
A timm backbone, a pyramid and pooling
======================================

Any backbone of `timm <https://huggingface.co/docs/timm>`_ that returns feature maps will do.
:class:`~correspondence_losses.blocks.FPNFusionHead` fuses all of its levels at image size, and
:class:`~correspondence_losses.blocks.SAMPoolingBlock` regularises the fused features by the segments of an
image without labels.
"""

import timm
import torch
from pictures import photographs, segment, show

from correspondence_losses import FPNFusionHead, SAMPoolingBlock

torch.manual_seed(0)
images = photographs("coffee", size=(144, 192))  # yours: (1, 3, 144, 192) here
# (1, 144, 192), from Segment Anything or any other method; 0 means "no segment"
segments = segment(images)

# %%
# The head takes the channels of the backbone's maps as timm gives them, finest first. It returns logits and the
# features that they are computed from. Pooling needs these features and the segments.

# pretrained=True for trained weights
backbone = timm.create_model("resnet10t", features_only=True, pretrained=False)
head = FPNFusionHead(backbone.feature_info.channels(), num_classes=22, fpn_channels=32)
pooling = SAMPoolingBlock(in_channels=32)

modules = torch.nn.ModuleList([backbone, head, pooling])
optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)

# %%
# Sixty steps on one image show what pooling does alone. In training it is added to a supervised loss on labelled
# images, with a weight of 0.05: see :doc:`plot_training_loop`.

losses, projections = [], []
for _ in range(60):
    loss, projection = pooling(head(backbone(images), size=(144, 192)).features, segments)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    projections.append(projection.detach())

print(f"loss {losses[0]:.3f} before, {losses[-1]:.3f} after")

# %%
# The projection has 3 channels, so it is an image to look at. Features become equal inside each segment and different
# between segments.

show(
    {
        "image": images[0],
        "segments": segments[0],
        "projection, step 0": projections[0][0],
        "projection, step 60": projections[-1][0],
    }
)

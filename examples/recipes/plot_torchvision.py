"""
torchvision's DeepLabV3 with pooling
====================================

A forward hook reads the input of the classifier's last convolution. The model, its weights and its state dict stay
unchanged. The pooling block is used in training only.
"""

import torch
from pictures import draw_scenes, show
from torch.nn.functional import cross_entropy
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from correspondence_losses import SAMPoolingBlock

torch.manual_seed(0)
labelled, labels = draw_scenes(2)  # synthetic images with labels
unlabelled, truth = draw_scenes(2, target=True, seed=1)  # images of another domain
segments = truth + 1  # what a perfect segmenter would find; 0 means "no segment"

# %%
# ``classifier[3]`` is the last ReLU of DeepLabV3's head, with 256 channels, at 1/16 of the image here. The projection
# is upsampled to the size of the segments, so thin segments keep their pixels.

model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
pooling = SAMPoolingBlock(in_channels=256)
features = {}
model.classifier[3].register_forward_hook(
    lambda module, inputs, output: features.update(fused=output)
)
optimizer = torch.optim.Adam([*model.parameters(), *pooling.parameters()], lr=1e-3)

# %%
# One pass over both kinds of images together, so that batch normalisation sees both domains.

for _ in range(20):
    logits = model(torch.cat([labelled, unlabelled]))["out"]
    pooled = pooling(features["fused"][len(labelled) :], segments)
    loss = cross_entropy(logits[: len(labelled)], labels) + 0.05 * pooled.loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

show({"image": unlabelled[0], "segments": segments[0], "projection": pooled.projection[0]})

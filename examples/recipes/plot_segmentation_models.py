"""
A U-Net of smp
==============

The models of smp, `segmentation_models.pytorch <https://smp.readthedocs.io>`_, have an encoder, a decoder and a head.
The head classifies the output of the decoder, at image size. A forward hook gives it to pooling, for every
architecture.
"""

import segmentation_models_pytorch as smp
import torch
from pictures import draw_scenes, show
from torch.nn.functional import cross_entropy

from correspondence_losses import SAMPoolingBlock

torch.manual_seed(0)
labelled, labels = draw_scenes(2)
unlabelled, truth = draw_scenes(2, target=True, seed=1)  # images of another domain
segments = truth + 1  # what a perfect segmenter would find; 0 means "no segment"

# %%
# The last entry of ``decoder_channels`` is the width of the features that pooling sees.

model = smp.Unet(
    "mobilenet_v2", encoder_weights=None, decoder_channels=(48, 32, 24, 16, 16), classes=4
)
pooling = SAMPoolingBlock(in_channels=16)
features = {}
model.decoder.register_forward_hook(
    lambda module, inputs, output: features.update(decoded=output)
)
optimizer = torch.optim.Adam([*model.parameters(), *pooling.parameters()], lr=1e-3)

for _ in range(20):
    logits = model(torch.cat([labelled, unlabelled]))
    pooled = pooling(features["decoded"][len(labelled) :], segments)
    loss = cross_entropy(logits[: len(labelled)], labels) + 0.05 * pooled.loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

show({"image": unlabelled[0], "segments": segments[0], "projection": pooled.projection[0]})

"""
SegFormer of Hugging Face's transformers
========================================

Pooling takes a feature map, whatever the model: here the input of the classifier in SegFormer's decoder, at 1/4 of the
image.
"""

import torch
from pictures import draw_scenes, show
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from correspondence_losses import SAMPoolingBlock

torch.manual_seed(0)
labelled, labels = draw_scenes(2)
unlabelled, truth = draw_scenes(2, target=True, seed=1)  # images of another domain
segments = truth + 1  # what a perfect segmenter would find; 0 means "no segment"

# %%
# A small model with random weights; ``SegformerForSemanticSegmentation.from_pretrained(...)`` for trained ones.

config = SegformerConfig(
    num_labels=4, depths=[1] * 4, hidden_sizes=[16, 32, 64, 96], decoder_hidden_size=64
)
model = SegformerForSemanticSegmentation(config)
pooling = SAMPoolingBlock(in_channels=config.decoder_hidden_size)
features = {}
model.decode_head.classifier.register_forward_pre_hook(
    lambda module, inputs: features.update(fused=inputs[0])
)
optimizer = torch.optim.Adam([*model.parameters(), *pooling.parameters()], lr=1e-3)

# %%
# With labels, the model computes its own supervised loss. The unlabelled images pass through it without labels.

for _ in range(40):
    supervised = model(pixel_values=labelled, labels=labels).loss
    model(pixel_values=unlabelled)
    pooled = pooling(features["fused"], segments)
    loss = supervised + 0.05 * pooled.loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

show({"image": unlabelled[0], "segments": segments[0], "projection": pooled.projection[0]})

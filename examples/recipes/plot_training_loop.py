"""
A plain PyTorch loop
====================

A supervised loss on labelled images of one domain, and pooling over segments on unlabelled images of another (equation
4.8 of the thesis). The terms of the loss have names, for logging.
"""

import matplotlib.pyplot as plt
import timm
import torch
from pictures import draw_scenes, show
from torch.nn.functional import cross_entropy

from correspondence_losses import FPNFusionHead, SAMPoolingBlock

torch.manual_seed(0)
labelled, labels = draw_scenes(16)  # flat colours
# texture, light, noise; the truth stays unseen
unlabelled, truth = draw_scenes(17, target=True, seed=1)
segments = truth + 1  # what a perfect segmenter would find; 0 means "no segment"

backbone = timm.create_model(
    "resnet10t", features_only=True, out_indices=(0, 1, 2), pretrained=False
)
head = FPNFusionHead(backbone.feature_info.channels(), num_classes=4, fpn_channels=32)
pooling = SAMPoolingBlock(in_channels=32)
modules = torch.nn.ModuleList([backbone, head, pooling])
optimizer = torch.optim.Adam(modules.parameters(), lr=3e-3)

# %%
# ``SAMPoolingBlock.criterion`` is the loss alone: its ``terms`` are the invariance inside segments and the separation
# between them. Their sum is the loss, so nothing is computed twice.

history = []
for _ in range(61):
    batch = torch.randperm(16)[:2]
    logits, features, _ = head(
        backbone(torch.cat([labelled[batch], unlabelled[batch]])), size=(96, 128)
    )
    terms = pooling.criterion.terms(
        pooling.project(features[2:], (96, 128)), segments[batch]
    )
    supervised = cross_entropy(logits[:2], labels[batch])
    loss = supervised + 0.05 * (terms.invariance + terms.separation)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append([supervised.item(), terms.invariance.item(), terms.separation.item()])

# %%
# The terms over the steps.

figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
axis.semilogy(
    history,
    label=["cross-entropy, labelled", "invariance, unlabelled", "separation, unlabelled"],
)
axis.set_xlabel("step")
axis.legend(fontsize=8)

# %%
# The prediction for an unlabelled image that the network has not seen. The projection needs no segments.

modules.eval()
with torch.no_grad():
    logits, features, _ = head(backbone(unlabelled[16:]), size=(96, 128))
    projection = pooling.project(features, (96, 128))
show(
    {
        "image": unlabelled[16],
        "projection": projection[0],
        "prediction": logits[0].argmax(0),
        "truth": truth[16],
    }
)

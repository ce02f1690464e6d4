"""
A plain ViT, a pyramid and a head
=================================

The blocks of a plain ViT, such as DINOv2 and DINOv3, all return maps of one stride.
:class:`~correspondence_losses.blocks.SimpleFeaturePyramid` makes maps at four scales from the last of them, and a head
for dense prediction takes these as it takes those of any other backbone.
"""

import timm
import torch
from pictures import photographs, segment, show

from correspondence_losses import FPNFusionHead, SAMPoolingBlock, SimpleFeaturePyramid

torch.manual_seed(0)
images = photographs("coffee", size=(140, 196))  # multiples of the patch's side, 14
segments = segment(images)

# %%
# ``pretrained=True`` loads DINOv2's weights; this page is built without a network, so these are random.
# ``dynamic_img_size`` admits images of any size. The encoder stays as it is: only what follows it is trained.

encoder = timm.create_model(
    "vit_small_patch14_dinov2", features_only=True, out_indices=[-1], dynamic_img_size=True
)
encoder.eval().requires_grad_(False)
pyramid = SimpleFeaturePyramid(encoder.feature_info.channels()[-1], out_channels=64)
head = FPNFusionHead(pyramid.pyramid_channels, num_classes=22, fpn_channels=32)
pooling = SAMPoolingBlock(in_channels=32)

(features,) = encoder(images)  # (1, 384, 10, 14)
maps = pyramid(features)
print(*(tuple(level.shape) for level in maps), sep="\n")

# %%
# From here on it is any other model: here pooling alone, for sixty steps on one image.

modules = torch.nn.ModuleList([pyramid, head, pooling])
optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-3)
for step in range(60):
    output = head(pyramid(features), size=images.shape[-2:])
    loss, projection = pooling(output.features, segments)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: pooling loss {loss.item():.3f}")

show({"image": images[0], "segments": segments[0], "projection": projection[0]})

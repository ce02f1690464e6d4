"""
VICRegL on your own images
==========================

Two crops of each image go through a network. Cells of their feature maps that show the same place, or that have the
nearest features, should agree. :class:`~correspondence_losses.correspond.MultiCrop` draws the crops and says where
their cells lie in the image.
"""

import timm
import torch
from pictures import photographs, show_matches

from correspondence_losses import (
    GlobalExpander,
    LocalProjector,
    MultiCrop,
    VICRegLLoss,
    location_matches,
)

torch.manual_seed(0)
# Your images, in [0, 1]; MultiCrop() for the thesis's crops.
images = photographs("coffee", "astronaut", "chelsea", "rocket", size=(144, 192))
crops = MultiCrop(num_small=1, large_size=128, small_size=64, scale=(0.3, 1.0))

# %%
# Matches by location, before any training. Lines join the cells whose centres are nearest to each other in the image;
# they cross where one of the crops is flipped. For a pipeline of your own, ``ViewGrid.from_transform`` makes the grid.

views, grids = crops(images)
show_matches(
    [view[0] for view in views[:2]],
    [grid.size for grid in grids[:2]],
    location_matches(*grids[:2], 10),
)

# %%
# The loss takes the pooled, expanded embeddings, the projected maps and the grids: a list of each, large views first.

backbone = timm.create_model(
    "resnet10t", features_only=True, out_indices=[-1], pretrained=False
)
expander = GlobalExpander(512, hidden_channels=(128,), out_channels=128)
projector = LocalProjector(512, hidden_channels=(128,), out_channels=128)
criterion = VICRegLLoss(num_matches=(10, 4))
modules = torch.nn.ModuleList([backbone, expander, projector])
optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-3)

for step in range(21):
    views, grids = crops(images)
    maps = [backbone(view)[0] for view in views]
    terms = criterion.terms(
        [expander(m.mean((2, 3))) for m in maps], [projector(m) for m in maps], grids
    )
    optimizer.zero_grad()
    sum(terms).backward()
    optimizer.step()
    if step % 10 == 0:
        print(
            step,
            *(f"{name} {term:.2f}" for name, term in terms._asdict().items()),
            sep="  ",
        )

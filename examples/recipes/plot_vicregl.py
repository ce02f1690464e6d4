"""
VICRegL on your own images
==========================

Two crops of each image go through a network, and cells of their feature maps that look at the same place, or that have
the nearest features, should agree. :class:`~correspondence_losses.correspond.ViewGrid` says where the cells of each
crop lie in the image: it needs the crop's box and whether it was flipped, nothing else.
"""

import timm
import torch
from pictures import photographs, show_matches
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2.functional import horizontal_flip, resized_crop

from correspondence_losses import GlobalExpander, LocalProjector, VICRegLLoss, ViewGrid, location_matches

torch.manual_seed(0)
images = photographs("coffee", "astronaut", "chelsea", "rocket", size=(144, 192))  # yours, all of one size here


def crop(images: torch.Tensor, size: int = 128) -> tuple[torch.Tensor, ViewGrid]:
    """Crop each image, flip half of the crops; its map has one cell for 32 x 32 pixels."""
    corners = [RandomResizedCrop.get_params(image, (0.3, 1.0), (3 / 4, 4 / 3)) for image in images]
    views = torch.cat([resized_crop(i[None], *c, [size, size]) for i, c in zip(images, corners, strict=True)])
    flips = torch.rand(len(images)) < 0.5
    views = torch.where(flips[:, None, None, None], horizontal_flip(views), views)
    boxes = torch.tensor([[left, top, left + width, top + height] for top, left, height, width in corners])
    return views, ViewGrid.from_boxes(boxes, (size // 32, size // 32), horizontal_flip=flips)


# %%
# Matches by location, before any training. Lines join the cells whose centres are nearest to each other in the image;
# they cross where one of the crops is flipped.

(view_a, grid_a), (view_b, grid_b) = crop(images), crop(images)
show_matches([view_a[0], view_b[0]], [grid_a.size, grid_b.size], location_matches(grid_a, grid_b, num_matches=10))

# %%
# The criterion takes the pooled, expanded embeddings, the projected maps and the grids, a list of each with one entry
# for each view. More views, large ones first, are more entries of the lists.

backbone = timm.create_model("resnet10t", features_only=True, out_indices=[-1], pretrained=False)
expander = GlobalExpander(512, hidden_channels=(128,), out_channels=128)
projector = LocalProjector(512, hidden_channels=(128,), out_channels=128)
criterion = VICRegLLoss(num_matches=(10, 4))
modules = torch.nn.ModuleList([backbone, expander, projector])
optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-3)

for step in range(21):
    views, grids = zip(crop(images), crop(images), strict=True)
    maps = [backbone(view)[0] for view in views]
    terms = criterion.terms([expander(m.mean((2, 3))) for m in maps], [projector(m) for m in maps], grids)
    optimizer.zero_grad()
    sum(terms).backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, *(f"{name} {term:.2f}" for name, term in terms._asdict().items()), sep="  ")

"""
Dense self-supervision that does not collapse
=============================================

Cells of two crops that show the same place should have the same features. Alone, this has a trivial solution: all
features are equal. LeJEPA rules it out with one term, SIGReg, which holds the distribution of the features to a standard
normal one, where VICReg has variance and covariance. :func:`~correspondence_losses.losses.on_matches` puts either on any
matches.
"""

import timm
import torch
from pictures import photographs

import correspondence_losses as cl

images = photographs("coffee", "astronaut", "chelsea", "rocket", size=(144, 192))
crops = cl.MultiCrop(num_small=0, large_size=96, scale=(0.3, 1.0))


def train(sigreg_weight: float) -> torch.Tensor:
    """Train on matches by location; return the features of the last step, (n, d)."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        timm.create_model("resnet10t", num_classes=0, global_pool="", pretrained=False),
        cl.LocalProjector(512, hidden_channels=(128,), out_channels=32),
    )
    criterion = cl.LeJEPALoss(sigreg_weight=sigreg_weight, num_slices=256)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for step in range(21):
        views, grids = crops(images)
        maps = [network(view) for view in views]
        loss = cl.on_matches(criterion, *maps, cl.location_matches(*grids, num_matches=12))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"weight {sigreg_weight:g}, step {step}: loss {loss.item():.3f}")
    return maps[0].detach().movedim(1, -1).flatten(0, 2)


# %%
# :func:`~correspondence_losses.functional.collapse_diagnostics` says what became of the features. Without SIGReg their
# standard deviation falls towards 0; with it they spread, and matched ones agree all the same.

for weight in (0.0, 0.05):
    mean_std, _ = cl.collapse_diagnostics(train(weight))
    print(f"weight {weight:g}: standard deviation of the features {mean_std:.3f}")

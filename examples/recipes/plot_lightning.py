"""
A Lightning module
==================

The blocks are ordinary modules: they move with the model, the optimiser has their parameters, and they run in any
precision of the trainer. A dictionary of two loaders gives each step a batch of both kinds.
"""

import lightning as L
import timm
import torch
from pictures import draw_scenes, show
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from correspondence_losses import FPNFusionHead, SAMPoolingBlock


class Adaptation(L.LightningModule):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            "resnet10t", features_only=True, out_indices=(0, 1, 2), pretrained=False
        )
        self.head = FPNFusionHead(
            self.backbone.feature_info.channels(), num_classes, fpn_channels=32
        )
        self.pooling = SAMPoolingBlock(in_channels=32)

    def forward(self, images):
        return self.head(self.backbone(images), size=images.shape[-2:])

    def training_step(self, batch, batch_idx):
        (images, labels), (unlabelled, segments) = batch["labelled"], batch["unlabelled"]
        supervised = cross_entropy(self(images).logits, labels)
        pooled = self.pooling(self(unlabelled).features, segments).loss
        self.log_dict({"supervised": supervised, "pooled": pooled})
        return supervised + 0.05 * pooled

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


# %%
# The trainer combines the two loaders.

L.seed_everything(0)
loaders = {
    "labelled": DataLoader(TensorDataset(*draw_scenes(12)), batch_size=2, shuffle=True),
    "unlabelled": DataLoader(
        TensorDataset(*draw_scenes(12, target=True, seed=1)), batch_size=2, shuffle=True
    ),
}
model = Adaptation(num_classes=4)
trainer = L.Trainer(
    max_epochs=10,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(model, loaders)
print({name: round(float(value), 3) for name, value in trainer.callback_metrics.items()})

# %%
# An unlabelled image that the model was not trained on.

images, truth = draw_scenes(1, target=True, seed=2)
with torch.no_grad():
    logits = model.eval()(images).logits
show({"image": images[0], "prediction": logits[0].argmax(0), "truth": truth[0]})

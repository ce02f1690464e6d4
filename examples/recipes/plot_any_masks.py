"""
Masks of any origin
===================

Pooling takes label maps. Segment Anything, SAM 2, SAM 3 and the mask generation of transformers return overlapping
masks, each in its own form. :func:`~correspondence_losses.functional.paint_masks` takes all of them and paints one
label map, the largest mask first, so small segments lie on top of large ones.
"""

import torch
from pictures import draw_scenes, show
from torchvision.transforms.v2.functional import to_pil_image
from transformers import SamConfig, SamImageProcessor, SamModel, pipeline

from correspondence_losses import SAMPoolingBlock, paint_masks

torch.manual_seed(0)
images, labels = draw_scenes(1, target=True)

# %%
# A list of dictionaries with ``"segmentation"``, as ``SamAutomaticMaskGenerator`` and ``SAM2AutomaticMaskGenerator``
# return it. Here the masks overlap, as theirs do: the whole image, and each object.

records = [
    {"segmentation": (labels[0] == label).numpy(), "stability_score": 0.97}
    for label in (1, 2, 3)
]
records.append({"segmentation": (labels[0] >= 0).numpy(), "stability_score": 0.96})
segments = paint_masks([records])  # a batch of one image

features = torch.randn(1, 64, 24, 32)  # of your model
loss, projection = SAMPoolingBlock(in_channels=64)(features, segments)
show({"image": images[0], "segments": segments[0]})

# %%
# A dictionary with ``"masks"``, as SAM 3 and the pipeline of transformers return it. This tiny model with random
# weights replaces ``pipeline("mask-generation", model="facebook/sam-vit-huge")``: its masks have the same form.
# ``min_area`` leaves out masks with fewer pixels.

small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 64}
config = SamConfig(
    vision_config=small | {"image_size": 128, "output_channels": 32, "num_pos_feats": 16},
    prompt_encoder_config={"image_size": 128, "hidden_size": 32},
    mask_decoder_config=small | {"iou_head_hidden_dim": 32},
)
processor = SamImageProcessor(
    size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}
)
generate = pipeline("mask-generation", model=SamModel(config), image_processor=processor)
masks = generate(
    to_pil_image(images[0]),
    points_per_crop=8,
    pred_iou_thresh=-10.0,
    stability_score_thresh=0.0,
)
segments = paint_masks([masks], size=(96, 128), min_area=100)
print(len(masks["masks"]), "masks,", int(segments.max()), "segments")
loss, projection = SAMPoolingBlock(in_channels=64)(features, segments)

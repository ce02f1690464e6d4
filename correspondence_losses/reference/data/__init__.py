"""Reading YCB-Video, in its original layout and in BOP's, and folders of images with or without labels."""

from correspondence_losses.reference.data.background import (
    Background,
    BackgroundLike,
    ImageBackground,
    SolidBackground,
    lay_over,
)
from correspondence_losses.reference.data.bop import BOPYCBVideo
from correspondence_losses.reference.data.class_names import read_class_names
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.image_folder import ImageFolder
from correspondence_losses.reference.data.layouts import open_dataset
from correspondence_losses.reference.data.own_classes import OwnClasses
from correspondence_losses.reference.data.refined import RefinedImages
from correspondence_losses.reference.data.source import Frame, FrameSource, spread
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.data.ycb_video import YCBVideo

__all__ = [
    "CLASS_NAMES",
    "BOPYCBVideo",
    "Background",
    "BackgroundLike",
    "DataError",
    "Frame",
    "FrameSource",
    "ImageBackground",
    "ImageFolder",
    "OwnClasses",
    "RefinedImages",
    "SolidBackground",
    "YCBVideo",
    "lay_over",
    "open_dataset",
    "read_class_names",
    "spread",
]

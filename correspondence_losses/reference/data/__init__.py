"""Reading YCB-Video, in its original layout and in BOP's, and folders of unlabelled images."""

from .background import Background, BackgroundLike, ImageBackground, SolidBackground
from .bop import BOPYCBVideo
from .errors import DataError
from .image_folder import ImageFolder
from .layouts import open_dataset
from .source import Frame, FrameSource
from .ycb_classes import CLASS_NAMES
from .ycb_video import YCBVideo

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
    "SolidBackground",
    "YCBVideo",
    "open_dataset",
]

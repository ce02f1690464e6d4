"""Opening a data set in whichever layout it lies there."""

from pathlib import Path

from correspondence_losses.reference.data.background import BackgroundLike
from correspondence_losses.reference.data.bop import BOPYCBVideo
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.own_classes import OwnClasses
from correspondence_losses.reference.data.source import FrameSource
from correspondence_losses.reference.data.ycb_video import YCBVideo


def open_dataset(root: Path | str, *, background: BackgroundLike = None) -> FrameSource:
    """Open YCB-Video, in its original layout or in BOP's, or a folder of your own classes, by what is there.

    Args:
        root: The folder of the data set.
        background: What to put behind the transparent synthetic images, as :func:`~.background.as_background` takes it.

    Returns:
        A :class:`YCBVideo`, a :class:`BOPYCBVideo` or an :class:`OwnClasses`.

    Raises:
        DataError: ``root`` is no folder, or holds none of these layouts or both of YCB-Video.

    Example:
        >>> open_dataset("no/such/folder")
        Traceback (most recent call last):
        ...
        correspondence_losses.reference.data.errors.DataError: no/such/folder: is not a folder
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder")
    original, bop = YCBVideo.is_here(root), BOPYCBVideo.is_here(root)
    if original and bop:
        raise DataError(f"{root}: holds both the original layout and BOP's; keep them in folders of their own")
    if original:
        return YCBVideo(root, background=background)
    if bop:
        return BOPYCBVideo(root, background=background)
    if OwnClasses.is_here(root):
        return OwnClasses(root, background=background)
    found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
    raise DataError(
        f"{root}: is not YCB-Video. Looked for its original layout (data/NNNN/FFFFFF-color.png or data_syn/), for "
        "BOP's (train_real, train_synt, train_pbr or test, each with SSSSSS/rgb/), and for your own classes "
        f"(classes.yaml and SPLIT/images/); found {found}"
    )

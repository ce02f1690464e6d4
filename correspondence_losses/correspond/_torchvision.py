"""A carrier that torchvision's transforms move as they move the image: which point of the seed image a view shows.

The only file of the core that imports torchvision; :meth:`ViewGrid.from_transform` imports it when it is called.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

Size = tuple[int, int]

_NOT_PROJECTIVE = ("elastic", "five_crop", "ten_crop")


class Carrier(tv_tensors.TVTensor):  # type: ignore[misc]
    """One row (k, 11) for the seed image and for each canvas that the transforms went through, the latest last.

    A row is the homogeneous 3 x 3 matrix from positions on the latest canvas to those on this one, and this canvas's
    height and width. All of it is in the tensor itself, so that it survives a conversion to a plain tensor.
    """


def transformed(transform: nn.Module, image: Any) -> tuple[Any, Tensor]:
    """Apply a transform of torchvision v2 to an image.

    Returns:
        The view, and the rows of its :class:`Carrier`.

    Raises:
        TypeError: ``transform`` is none of v2, ``image`` is no image, or the transform does not return one image.
        ValueError: The transform moves pixels in a way that cannot be followed.
    """
    if not isinstance(transform, v2.Transform | nn.Sequential):
        raise TypeError(f"transform must be one of torchvision.transforms.v2, got {type(transform).__name__}")
    try:
        size = _size_of(image)
    except TypeError:
        raise TypeError(f"image must be a PIL image or a tensor (..., c, H, W), got {type(image).__name__}") from None
    row = torch.cat([torch.eye(3, dtype=torch.float64).flatten(), torch.tensor(size, dtype=torch.float64)])
    output = transform((image, row[None].as_subclass(Carrier)))
    if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], Tensor)):
        raise TypeError("transform must return one image for one image")
    view, rows = output[0], output[1].as_subclass(Tensor)
    if rows.dtype != torch.float64 or rows.ndim != 2 or rows.shape[1] != 11:
        raise ValueError(f"transform must leave what is no image as it is, got {rows.dtype} {tuple(rows.shape)}")
    if _size_of(view) != tuple(rows[-1, 9:].long().tolist()):
        raise ValueError(
            "transform must move pixels by torchvision.transforms.v2.functional alone: "
            f"the view has size {_size_of(view)}, and {tuple(rows[-1, 9:].long().tolist())} was followed"
        )
    return view, rows


def _size_of(image: Any) -> tuple[int, int]:
    height, width = F.get_size(image)
    return height, width


def _size_after(functional: Callable[..., Any], size: Size, /, *args: Any, **kwargs: Any) -> Size:
    """The size of an image after a functional, by torchvision's own rules."""
    if functional is F.rotate:  # which gives boxes a canvas of another size than images
        return _size_of(functional(torch.empty(1, *size, dtype=torch.uint8), *args, **kwargs))
    box = tv_tensors.BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=size)
    return _size_of(functional(box, *args, **kwargs))


def _kernel(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register for a functional the matrix from its output's positions to its input's.

    The decorated function is given the sizes (H, W) of input and output, and the functional's own arguments.
    """

    def decorator(matrix: Callable[..., Tensor]) -> Callable[..., Tensor]:
        functional = getattr(F, name)

        @F.register_kernel(functional, Carrier)  # type: ignore[untyped-decorator]
        def kernel(carrier: Carrier, *args: Any, **kwargs: Any) -> Carrier:
            rows = carrier.as_subclass(Tensor)
            old = (int(rows[-1, 9]), int(rows[-1, 10]))
            new = _size_after(functional, old, *args, **kwargs)
            step = matrix(old, new, *args, **kwargs)
            matrices = (rows[:, :9].view(-1, 3, 3) @ step).flatten(1)
            latest = torch.cat([torch.eye(3, dtype=torch.float64).flatten(), torch.tensor(new, dtype=torch.float64)])
            moved = torch.cat([torch.cat([matrices, rows[:, 9:]], dim=1), latest[None]])
            return moved.as_subclass(Carrier)

        return matrix

    return decorator


@_kernel("horizontal_flip")
def _horizontal_flip(old: Size, new: Size) -> Tensor:
    return _matrix([[-1, 0, old[1]], [0, 1, 0], [0, 0, 1]])


@_kernel("vertical_flip")
def _vertical_flip(old: Size, new: Size) -> Tensor:
    return _matrix([[1, 0, 0], [0, -1, old[0]], [0, 0, 1]])


@_kernel("resize")
def _resize(old: Size, new: Size, *_: Any, **__: Any) -> Tensor:
    return _scaling(old, new)


@_kernel("crop")
def _crop(old: Size, new: Size, top: int, left: int, height: int, width: int) -> Tensor:
    return _shift(left, top)


@_kernel("resized_crop")
def _resized_crop(old: Size, new: Size, top: int, left: int, height: int, width: int, *_: Any, **__: Any) -> Tensor:
    return _shift(left, top) @ _scaling((height, width), new)


@_kernel("center_crop")
def _center_crop(old: Size, new: Size, output_size: Any) -> Tensor:
    # Where the crop is larger, the image is padded on both sides, by less before than after.
    before = [max(n - o, 0) // 2 for o, n in zip(old, new, strict=True)]
    padded = [max(o, n) for o, n in zip(old, new, strict=True)]
    top, left = (round((p - n) / 2) - b for p, n, b in zip(padded, new, before, strict=True))
    return _shift(left, top)


@_kernel("pad")
def _pad(old: Size, new: Size, padding: int | Sequence[int], *_: Any, **__: Any) -> Tensor:
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top = (sides[0], sides[0]) if len(sides) == 1 else (sides[0], sides[1])
    return _shift(-left, -top)


@_kernel("affine")
def _affine(
    old: Size,
    new: Size,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    interpolation: Any = None,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Tensor:
    shears = [shear, 0.0] if isinstance(shear, int | float) else list(shear)
    shear_x, shear_y = (math.tan(math.radians(s)) for s in (shears if len(shears) == 2 else shears * 2))
    forward: Tensor = (
        scale
        * _rotation(angle)
        @ _matrix([[1, 0, 0], [-shear_y, 1, 0], [0, 0, 1]])
        @ _matrix([[1, -shear_x, 0], [0, 1, 0], [0, 0, 1]])
    )
    forward[2] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    x, y = center if center is not None else (old[1] / 2, old[0] / 2)
    backward: Tensor = torch.linalg.inv(forward)
    return _shift(x, y) @ backward @ _shift(-x - translate[0], -y - translate[1])


@_kernel("rotate")
def _rotate(
    old: Size,
    new: Size,
    angle: float,
    interpolation: Any = None,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Tensor:
    # Counted against the clock, where y points down; a canvas that is expanded keeps its middle in the middle.
    x, y = center if center is not None else (old[1] / 2, old[0] / 2)
    middle = _shift((old[1] - new[1]) / 2, (old[0] - new[0]) / 2)
    return _shift(x, y) @ _rotation(angle) @ _shift(-x, -y) @ middle


@_kernel("perspective")
def _perspective(
    old: Size,
    new: Size,
    startpoints: Sequence[Sequence[float]] | None,
    endpoints: Sequence[Sequence[float]] | None,
    interpolation: Any = None,
    fill: Any = None,
    coefficients: Sequence[float] | None = None,
) -> Tensor:
    if coefficients is None:
        # a x + b y + c - u (g x + h y) = u and d x + e y + f - v (g x + h y) = v take each (x, y) to its (u, v).
        equations, positions = [], []
        for (x, y), (u, v) in zip(endpoints or (), startpoints or (), strict=True):
            equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
            positions += [u, v]
        system = torch.tensor(equations, dtype=torch.float64)
        coefficients = torch.linalg.lstsq(system, torch.tensor(positions, dtype=torch.float64)).solution.tolist()
    return _matrix([[*coefficients[:3]], [*coefficients[3:6]], [*coefficients[6:], 1]])


def _refuse(name: str) -> None:
    @F.register_kernel(getattr(F, name), Carrier)  # type: ignore[untyped-decorator]
    def kernel(carrier: Carrier, *_: Any, **__: Any) -> Carrier:
        raise ValueError(f"transform must be projective and give one view, got {name}")


for _name in _NOT_PROJECTIVE:
    _refuse(_name)


def _matrix(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _shift(x: float, y: float) -> Tensor:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _scaling(old: Size, new: Size) -> Tensor:
    return _matrix([[old[1] / new[1], 0, 0], [0, old[0] / new[0], 0], [0, 0, 1]])


def _rotation(degrees: float) -> Tensor:
    """Clockwise, where y points down."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])

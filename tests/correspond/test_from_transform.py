"""Grids of torchvision's transforms: which point of the image each pixel of the view shows, to a hundredth of a pixel.

The truth is the view itself: of an image whose channels are x, y and 1, every pixel of the view says what it shows.
"""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("torchvision")
from torchvision import tv_tensors
from torchvision.transforms import v2

from correspondence_losses.correspond import ViewGrid, location_matches

LINEAR = v2.InterpolationMode.BILINEAR
H, W = 60, 80
TRANSFORMS = {
    "crop": v2.RandomCrop(30),
    "pad": v2.Pad([3, 5, 7, 9]),
    "pad on two sides": v2.Pad([4, 6]),
    "pad and crop": v2.RandomCrop((70, 90), pad_if_needed=True),
    "center crop": v2.CenterCrop((31, 120)),
    "center crop, odd": v2.CenterCrop((71, 41)),
    "resize": v2.Resize(35, antialias=False),
    "resize both sides": v2.Resize((130, 51), antialias=False),
    "resize to a maximum": v2.Resize(50, max_size=60, antialias=False),
    "resize with antialiasing": v2.Resize(30, antialias=True),
    "resize to twice and half": v2.Resize((120, 40)),
    "resized crop": v2.RandomResizedCrop((44, 32), antialias=False),
    "horizontal flip": v2.RandomHorizontalFlip(1.0),
    "vertical flip": v2.RandomVerticalFlip(1.0),
    "affine": v2.RandomAffine(40, (0.1, 0.2), (0.7, 1.5), (-20, 20, -10, 15), interpolation=LINEAR),
    "affine around a corner": v2.RandomAffine(40, (0.1, 0.2), shear=15, interpolation=LINEAR, center=[0, 0]),
    "rotation": v2.RandomRotation(60, interpolation=LINEAR),
    "rotation on a larger canvas": v2.RandomRotation(60, interpolation=LINEAR, expand=True),
    "rotation around a corner": v2.RandomRotation(60, interpolation=LINEAR, center=[0, 0]),
    "quarter turn": v2.RandomRotation((90, 90), expand=True),
    "perspective": v2.RandomPerspective(0.5, 1.0, interpolation=LINEAR),
    "zoom out": v2.RandomZoomOut(side_range=(1.0, 2.0), p=1.0),
    "scale jitter": v2.ScaleJitter((100, 100), antialias=False),
    "sequential": nn.Sequential(v2.RandomCrop(40), v2.Resize(64, antialias=False)),
    "one of several": v2.RandomChoice([v2.RandomCrop(40), v2.RandomHorizontalFlip(1.0), v2.Pad(5)]),
    "all": v2.Compose(
        [
            v2.RandomAffine(30, (0.1, 0.1), interpolation=LINEAR),
            v2.RandomPerspective(0.3, 1.0, interpolation=LINEAR),
            v2.RandomRotation(30, interpolation=LINEAR, expand=True),
            v2.RandomResizedCrop(64, antialias=False),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
        ]
    ),
}


def ramp() -> torch.Tensor:
    x, y = torch.meshgrid(torch.arange(W) + 0.5, torch.arange(H) + 0.5, indexing="xy")
    return torch.stack([x, y, torch.ones(H, W)]).double()


def view_and_grid(transform: nn.Module, seed: int, image: object) -> tuple[torch.Tensor, ViewGrid]:
    """The view, and its grid with one cell for each pixel."""
    torch.manual_seed(seed)
    size = tuple(v2.functional.get_size(transform(image)))
    torch.manual_seed(seed)
    return ViewGrid.from_transform(transform, image, size)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_cell_lies_where_the_view_shows(name: str) -> None:
    inner_pixels = 0
    for seed in range(3):
        view, grid = view_and_grid(TRANSFORMS[name], seed, tv_tensors.Image(ramp()))
        weight = view[2]
        # Away from the image's border and the fill, whose values interpolation mixes in.
        inner = -F.max_pool2d(F.pad(-weight[None, None], [2] * 4), 5, 1)[0, 0] > 1 - 1e-9
        inner &= ((view[0] > 2) & (view[0] < W - 2) & (view[1] > 2) & (view[1] < H - 2)).as_subclass(torch.Tensor)
        inner[:2] = inner[-2:] = inner[:, :2] = inner[:, -2:] = False
        shown = torch.stack([view[0], view[1]], dim=-1).as_subclass(torch.Tensor)
        torch.testing.assert_close(grid.points[0][inner].double(), shown[inner], rtol=0, atol=0.01)
        assert grid.valid[0][inner].all()
        assert not grid.valid[0][(weight < 0.01).as_subclass(torch.Tensor)].any()
        inner_pixels += int(inner.sum())
    assert inner_pixels > 500


def test_what_leaves_the_view_in_between_stays_invalid() -> None:
    """Content that one transform moves out does not come back with the next: there is fill."""
    shift = [
        v2.Lambda(lambda image, by=by: v2.functional.affine(image, 0, [by, 0], 1.0, [0.0]), object) for by in (30, -30)
    ]
    view, grid = view_and_grid(v2.Compose(shift), 0, tv_tensors.Image(ramp()))
    shown = view[2].as_subclass(torch.Tensor) > 0
    assert not shown[:, -30:].any()
    assert torch.equal(grid.valid[0], shown)
    assert grid.points[0][~shown].abs().sum() == 0


def test_a_crop_equals_its_box() -> None:
    image = torch.rand(3, H, W)
    for seed in range(20):
        crop = v2.RandomResizedCrop(64)
        torch.manual_seed(seed)
        top, left, height, width = crop.make_params([torch.empty(1, H, W)]).values()
        flip = bool(torch.rand(1) < 0.5)
        torch.manual_seed(seed)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip()])
        _, grid = ViewGrid.from_transform(transform, image, (7, 5))
        box = torch.tensor([[left, top, left + width, top + height]])
        expected = ViewGrid.from_boxes(box, (7, 5), horizontal_flip=torch.tensor([flip]))
        torch.testing.assert_close(grid.points, expected.points, rtol=0, atol=1e-4)
        assert grid.axis_aligned
        assert grid.valid.all()


def test_fast_and_slow_search_agree() -> None:
    transform = v2.Compose([v2.RandomResizedCrop(64), v2.RandomHorizontalFlip()])
    torch.manual_seed(0)
    a, b = (ViewGrid.from_transform(transform, torch.rand(3, H, W), (7, 7))[1] for _ in range(2))
    points = [ViewGrid.from_points(grid.points, grid.valid) for grid in (a, b)]
    for fast, slow in zip(location_matches(a, b, 20), location_matches(*points, 20), strict=True):
        torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize(
    "name", ["resize to twice and half", "crop", "affine", "rotation on a larger canvas", "perspective"]
)
def test_pillow_images(name: str) -> None:
    """The same for an image of Pillow, of which every channel is an image of its own."""
    images = [v2.functional.to_pil_image(channel[None].float(), mode="F") for channel in ramp()]
    views, grid = [], None
    for image in images:
        view, grid = view_and_grid(TRANSFORMS[name], 3, image)
        views.append(v2.functional.pil_to_tensor(view)[0])
    x, y, weight = views
    inner = -F.max_pool2d(F.pad(-weight[None, None], [2] * 4), 5, 1)[0, 0] > 1 - 1e-6
    inner &= (x > 3) & (x < W - 3) & (y > 3) & (y < H - 3)
    assert inner.sum() > 100
    torch.testing.assert_close(grid.points[0][inner], torch.stack([x, y], -1)[inner], rtol=0, atol=0.01)


def test_a_batch_has_one_grid_for_each_image() -> None:
    views, grid = ViewGrid.from_transform(v2.RandomCrop(32), torch.rand(3, 1, H, W), (2, 4))
    assert views.shape == (3, 1, 32, 32)
    assert grid.points.shape == (3, 2, 4, 2)
    assert torch.equal(grid.points[0], grid.points[2])


def test_colours_and_types_have_no_effect() -> None:
    colours = v2.Compose(
        [
            v2.ToImage(),
            v2.ColorJitter(0.4, 0.4, 0.2, 0.1),
            v2.GaussianBlur(3),
            v2.RandomErasing(1.0),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
            v2.ToPureTensor(),
        ]
    )
    image = torch.randint(0, 256, (3, H, W), dtype=torch.uint8)
    view, grid = ViewGrid.from_transform(v2.Compose([v2.CenterCrop(40), colours]), image, (4, 4))
    assert type(view) is torch.Tensor
    expected = ViewGrid.from_boxes(torch.tensor([[20.0, 10.0, 60.0, 50.0]]), (4, 4))
    torch.testing.assert_close(grid.points, expected.points)


class Half(v2.Transform):
    """Moves pixels behind the back of torchvision's functionals."""

    def transform(self, inpt, params):
        return inpt[..., ::2, ::2] if isinstance(inpt, tv_tensors.Image) else inpt


class Integers(v2.Transform):
    """Converts what is no image, too."""

    _transformed_types = (object,)

    def transform(self, inpt, params):
        return inpt.long()


@pytest.mark.parametrize(
    ("transform", "image", "size", "error", "message"),
    [
        (
            v2.ElasticTransform(),
            torch.rand(3, H, W),
            (2, 2),
            ValueError,
            "must be projective and give one view, got elastic",
        ),
        (
            v2.FiveCrop(20),
            torch.rand(3, H, W),
            (2, 2),
            ValueError,
            "must be projective and give one view, got five_crop",
        ),
        (Half(), tv_tensors.Image(torch.rand(3, H, W)), (2, 2), ValueError, r"the view has size \(30, 40\)"),
        (Integers(), torch.rand(3, H, W), (2, 2), ValueError, "must leave what is no image as it is, got torch.int64"),
        (
            lambda image: image,
            torch.rand(3, H, W),
            (2, 2),
            TypeError,
            "transform must be one of torchvision.transforms.v2",
        ),
        (v2.Identity(), "photo.png", (2, 2), TypeError, "image must be a PIL image or a tensor"),
        (v2.Identity(), torch.rand(3, H, W), (0, 2), ValueError, r"size\[0\] must be at least 1, got 0"),
        (v2.Lambda(lambda sample: 1, tuple), torch.rand(3, H, W), (2, 2.0), TypeError, r"size\[1\] must be an int"),
    ],
)
def test_what_cannot_be_followed_is_refused(transform, image, size, error, message) -> None:
    with pytest.raises(error, match=message):
        ViewGrid.from_transform(transform, image, size)


@pytest.mark.parametrize("call", ["ViewGrid.from_transform(None, None, (2, 2))", "MultiCrop()(torch.rand(1, 3, 8, 8))"])
def test_without_torchvision_it_says_what_is_missing(call: str) -> None:
    script = f"""
import sys
sys.modules["torchvision"] = None
import torch
from correspondence_losses.correspond import MultiCrop, ViewGrid
{call}
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert "needs torchvision, which is not installed: pip install torchvision" in run.stderr

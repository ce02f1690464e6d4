"""Multi-crop views: the thesis's settings, and grids that equal those of the boxes that were drawn."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("torchvision")
from torchvision.transforms import v2

from correspondence_losses.correspond import ColorDistortion, MultiCrop, ViewGrid

PLAIN = ColorDistortion(jitter=0, grayscale=0, blur=0, solarize=0)


def test_the_defaults_are_the_thesis_s() -> None:
    """Sec. 4.2: 2 of 224 and 6 of 96, area 0.08 to 1, 3/4 to 4/3 of the image's aspect ratio, flips at 50 %."""
    crops = MultiCrop()
    assert (crops.num_large, crops.large_size, crops.num_small, crops.small_size) == (2, 224, 6, 96)
    assert (crops.scale, crops.ratio, crops.flip) == ((0.08, 1.0), (3 / 4, 4 / 3), 0.5)
    assert (
        min(crops.distortion.jitter, crops.distortion.blur, crops.distortion.solarize, crops.distortion.grayscale) > 0
    )
    assert (crops.cells(224), crops.cells(96)) == (7, 3)


def test_grids_equal_those_of_the_boxes_and_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, flips = [], []
    make_params, transform = v2.RandomResizedCrop.make_params, v2.RandomHorizontalFlip.forward

    def recorded_params(self, flat_inputs):
        params = make_params(self, flat_inputs)
        drawn.append(
            [params["left"], params["top"], params["left"] + params["width"], params["top"] + params["height"]]
        )
        return params

    def recorded_flip(self, *inputs):
        (image, _), before = inputs[0], inputs[0][0]
        output = transform(self, *inputs)
        flips.append(not torch.equal(output[0], before))
        assert not flips[-1] or torch.equal(output[0], image.flip(-1))
        return output

    monkeypatch.setattr(v2.RandomResizedCrop, "make_params", recorded_params)
    monkeypatch.setattr(v2.RandomHorizontalFlip, "forward", recorded_flip)
    crops = MultiCrop()
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((120, 160), (300, 200), (100, 90))]
    torch.manual_seed(0)
    views, grids = crops(images)
    boxes = torch.tensor(drawn).view(3, 8, 4)
    flipped = torch.tensor(flips).view(3, 8)
    assert flipped.any()
    assert not flipped.all()
    for index, (view, grid) in enumerate(zip(views, grids, strict=True)):
        size, cells = (224, 7) if index < 2 else (96, 3)
        assert view.shape == (3, 3, size, size)
        expected = ViewGrid.from_boxes(boxes[:, index], (cells, cells), horizontal_flip=flipped[:, index])
        torch.testing.assert_close(grid.points, expected.points, rtol=0, atol=0.01)
        assert grid.axis_aligned
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1) / torch.tensor([[120 * 160], [300 * 200], [100 * 90]])
    assert (area > 0.07).all()
    assert (area <= 1).all()


def test_batches_lists_and_pillow_images_serve() -> None:
    crops = MultiCrop(num_small=1, large_size=64, small_size=32, distortion=PLAIN)
    image = torch.randint(0, 256, (3, 80, 100), dtype=torch.uint8)
    results = []
    for images in (image[None], [image], [v2.functional.to_pil_image(image)], (image / 255)[None]):
        torch.manual_seed(3)
        results.append(crops(images))
    for views, grids in results[1:]:
        for view, expected in zip(views, results[0][0], strict=True):
            torch.testing.assert_close(view, expected, rtol=0, atol=0.05)
        for grid, expected in zip(grids, results[0][1], strict=True):
            assert torch.equal(grid.points, expected.points)


def test_workers_of_a_loader_draw_the_views() -> None:
    crops = MultiCrop(num_small=2, large_size=64, small_size=32)
    loader = DataLoader(list(torch.rand(5, 3, 70, 90)), batch_size=2, num_workers=1, collate_fn=crops)
    shapes = [[tuple(view.shape) for view in views] for views, grids in loader]
    assert shapes[0] == [(2, 3, 64, 64)] * 2 + [(2, 3, 32, 32)] * 2
    assert shapes[2][0] == (1, 3, 64, 64)
    assert pickle.loads(pickle.dumps(crops)) == crops  # noqa: S301


def test_without_distortion_a_view_keeps_its_values():
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(PLAIN.build()(image), image / 255)


@pytest.mark.parametrize("change", ["jitter", "grayscale", "blur", "solarize"])
def test_each_distortion_changes_the_view(change):
    off = dict.fromkeys(["jitter", "grayscale", "blur", "solarize"], 0.0)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    torch.manual_seed(1)
    changed = ColorDistortion(**{**off, change: 1.0}).build()(image)
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert not torch.allclose(changed, image / 255)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"num_large": 0}, "num_large"),
        ({"num_large": 1, "num_small": 0}, "num_small"),
        ({"num_small": -1}, "num_small"),
        ({"large_size": 225}, "large_size must be a multiple of the stride, 32, got 225"),
        ({"small_size": 0}, "small_size"),
        ({"stride": 0}, "stride"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (0.5, 1.5)}, "scale"),
        ({"ratio": (2.0, 1.0)}, "ratio"),
        ({"flip": 1.5}, "flip"),
    ],
)
def test_bad_settings(settings_, message):
    with pytest.raises(ValueError, match=message):
        MultiCrop(**settings_)


def test_no_images():
    with pytest.raises(ValueError, match="images must hold at least one image"):
        MultiCrop()([])


def test_a_bad_probability_of_a_distortion():
    with pytest.raises(ValueError, match="solarize must be a probability"):
        ColorDistortion(solarize=-0.1)

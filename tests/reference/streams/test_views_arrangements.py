"""Arrangements: where views come from, and that their correspondences show the same place of the same object."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plate_world import CROPS, SIZE, MemorySource, plate_frame, pose, stream, world

from correspondence_losses.reference.streams import (
    MultipleArrangements,
    MultipleFrames,
    Paired,
    SingleFrame,
    Unpaired,
    ViewStream,
    single_object_frames,
)


def shown(frame, points):
    """Label and object coordinates at positions (n, 2) of a frame."""
    x, y = points.floor().long().unbind(-1)
    return torch.from_numpy(frame.label)[y, x], torch.from_numpy(frame.object_coordinates)[y, x]


def arrangements(singles, others, pairs):
    return {
        "single": SingleFrame(),
        "paired": Paired(pairs),
        "multiple": MultipleArrangements(single_object_frames(singles)),
        "frames": MultipleFrames([(others, name) for name in others.frames("train")]),
    }


@pytest.mark.parametrize("name", ["single", "paired", "multiple", "frames"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_valid_cells_show_the_same_place_as_the_seed_frame(name, seed):
    source, pairs, singles, others, cache = world(seed)
    made = stream(arrangements(singles, others, pairs)[name], source, cache, seed)
    home, placed, _ = made.placed(0)
    views = made[0]
    for i, view in enumerate(placed):
        grid = views.grids[i]
        here, there = view.crop.grid(CROPS.cells(view.size)).points[grid.valid], grid.points[grid.valid]
        frame = next(
            frame
            for frame in [home.frame, *pairs._frames.values(), *singles._frames.values(), *others._frames.values()]
            if torch.equal(view.picture.image, torch.from_numpy(frame.image).permute(2, 0, 1))
        )
        label, coordinates = shown(frame, here)
        seed_label, seed_coordinates = shown(home.frame, there)
        if frame is home.frame or name == "paired":
            assert torch.equal(here, there)
            assert grid.valid.all()
        else:
            assert (label > 0).all()
        assert torch.equal(label, seed_label)
        # Both are read at the nearest pixel, and a pixel is up to some 4 to 8 mm of a plate seen at a slant.
        on_object = label > 0
        assert (coordinates - seed_coordinates)[on_object].norm(dim=-1).lt(0.012).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single", [0, 0, 0, 0, 0, 0, 0, 0]),
        ("paired", [0, 1, 0, 0, 0, 1, 1, 1]),
    ],
)
def test_where_views_come_from(name, expected):
    source, pairs, singles, others, _ = world()
    views = stream(arrangements(singles, others, pairs)[name], source)[0]
    assert views.pictures.tolist() == [expected]
    assert [tuple(image.shape) for image in views.images] == [(1, 3, 64, 64)] * 2 + [(1, 3, 48, 48)] * 6
    assert [grid.size for grid in views.grids] == [(4, 4)] * 2 + [(3, 3)] * 6


@pytest.mark.parametrize("name", ["multiple", "frames"])
def test_half_of_the_small_views_come_from_other_images_and_all_correspond(name):
    source, pairs, singles, others, _ = world()
    made = stream(arrangements(singles, others, pairs)[name], source)
    for index in range(10):
        views = made[index]
        assert views.pictures[0, :5].tolist() == [0] * 5
        assert (views.pictures[0, 5:] > 0).all()
        assert all(grid.valid.any() for grid in views.grids)
        assert not any(grid.axis_aligned for grid in views.grids[5:])


@pytest.mark.parametrize("num_views", [0, 1, 6])
def test_number_of_views_from_other_images(num_views):
    source, _, singles, _, _ = world()
    views = stream(MultipleArrangements(single_object_frames(singles), num_views=num_views), source)[0]
    assert (views.pictures > 0).sum() == num_views


def test_views_without_correspondence_are_replaced_by_views_of_the_seed():
    source, _, _, _, _ = world()
    # A plate beside the image, which shows none of it.
    far = plate_frame([np.c_[np.eye(3), [9.0, 0, 0.5]], None])
    unseen = MemorySource({"data/0001/000001": far}, "singles")
    views = stream(MultipleArrangements(single_object_frames(unseen)), source)[0]
    assert views.pictures.tolist() == [[0] * 8]
    assert all(grid.valid.all() for grid in views.grids)


def test_objects_that_are_not_seen_and_images_that_are_the_seed_are_passed_over():
    source, _, singles, _, _ = world()
    rng = np.random.default_rng(1)
    one = MemorySource({"data/0000/000001": plate_frame([pose(rng), None])}, "home")
    stream(MultipleArrangements(single_object_frames(singles)), one)[0]
    assert set(singles.read) <= {"data/0001/000001"}
    name = source.frames("train")[0]
    assert stream(MultipleFrames([(source, name)]), source)[0].pictures.tolist() == [[0] * 8]


def test_colours_of_carried_cells_are_those_of_the_seed_frame():
    """The colour of a carried cell is that of its place in the seed frame: images, grids and poses agree."""
    source, _, singles, _, _ = world(3)
    made = stream(MultipleArrangements(single_object_frames(singles)), source)
    compared = 0
    for index in range(20):
        home, placed, _ = made.placed(index)
        views = made[index]
        for i in range(5, 8):
            grid = views.grids[i]
            size = placed[i].size
            centre = (torch.arange(3) * 2 + 1) * size // 6
            colors = views.images[i][0][:, centre][:, :, centre].permute(1, 2, 0)
            x, y = grid.points[0].floor().long().unbind(-1)
            expected = torch.from_numpy(home.image)[y, x] / 255
            error = (colors - expected).abs().amax(-1)[grid.valid[0]]
            compared += len(error)
            assert error.median() < 0.08
    assert compared > 50


def test_segments_are_those_of_the_seed_in_every_view():
    source, pairs, singles, others, cache = world(5)
    segments = torch.from_numpy(cache.load("data/0000/000001").astype(np.int64))
    for arrangement in arrangements(singles, others, pairs).values():
        made = stream(arrangement, source, cache)
        home, placed, _ = made.placed(0)
        views = made[0]
        for i, view in enumerate(placed):
            grid = views.grids[i]
            x, y = grid.points[0].floor().long().unbind(-1)
            expected = segments[y, x].where(grid.valid[0], 0)
            if isinstance(arrangement, Paired) and views.pictures[0, i] == 1:
                expected = expected.where(torch.from_numpy(home.frame.label > 0)[y, x], 0)
            assert torch.equal(views.cell_segments[i][0], expected)
            # A cell's centre lies on the corner of four pixels of the view.
            centre = (torch.arange(grid.size[0]) * 2 + 1) * view.size // (2 * grid.size[0])
            around = [views.segments[i][0][(centre - a)[:, None], centre - b] for a in (0, 1) for b in (0, 1)]
            agrees = torch.stack([near == expected for near in around]).any(0)
            assert agrees.float().mean() > 0.7
            assert views.segments[i].shape == (1, view.size, view.size)


def test_labelled_images():
    source, _, singles, _, _ = world()
    labels = [(singles, name) for name in singles.frames("train")]
    seed_views = stream(SingleFrame(), source, labelled_size=SIZE)[0]
    assert torch.equal(seed_views.labelled.label[0], torch.from_numpy(source.label("data/0000/000001")).long())
    drawn = [stream(Unpaired(labels), source, labelled_size=SIZE)[i].labelled for i in range(8)]
    assert {int(label.max()) for _, label in drawn} == {1, 2}
    assert drawn[0].image.shape == (1, 3, *SIZE)
    assert stream(Unpaired(labels), source)[0].labelled is None


def test_a_pair_of_another_size_is_an_error():
    source, *_ = world()
    rng = np.random.default_rng(0)
    small = MemorySource({"data/0000/000001": plate_frame([pose(rng), None], size=(60, 80))})
    with pytest.raises(ValueError, match="must have the size of data/0000/000001"):
        stream(Paired(small), source)[0]


def test_two_of_one_class_cannot_be_told_apart():
    source, _, singles, _, _ = world()
    frame = source.frame("data/0000/000001")
    twice = replace(frame, object_ids=np.array([1, 1]))
    with pytest.raises(ValueError, match="each object once to match by poses, got 2 of class 1"):
        stream(MultipleArrangements(single_object_frames(singles)), MemorySource({"data/0000/000001": twice}))[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Paired(), "renders"),
        (lambda: Unpaired([]), "labelled_frames"),
        (lambda: MultipleFrames([]), "frames"),
        (lambda: MultipleArrangements({1: []}), "got none of class 1"),
        (lambda: MultipleArrangements({}, num_views=-1), "num_views"),
        (lambda: stream(MultipleArrangements({}, num_views=7), world()[0])[0], "num_views must be at most"),
        (lambda: ViewStream([], SingleFrame(), crops=CROPS, seed=0), "frames"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()

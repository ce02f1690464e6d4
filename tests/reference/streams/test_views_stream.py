"""View sets: reproducible, batched, and taken by the losses as they are."""

import pickle

import pytest
import torch
from plate_world import SIZE, stream, world
from torch.utils.data import DataLoader, Subset

from correspondence_losses.correspond import MultiCrop, segment_matches
from correspondence_losses.losses import MatchedVICRegLoss, VICRegLLoss
from correspondence_losses.reference.commands.views import draw_arrangements
from correspondence_losses.reference.figures.view_sheets import draw_view_set
from correspondence_losses.reference.scenes import SceneSettings, generate_scenes
from correspondence_losses.reference.streams import (
    MultipleArrangements,
    Paired,
    SingleFrame,
    ViewStream,
    collate_views,
    single_object_frames,
)


def tensors(value):
    """All tensors in nested tuples, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for item in value for tensor in tensors(item)] if isinstance(value, tuple) else []


def equal(a, b):
    return len(tensors(a)) == len(tensors(b)) and all(map(torch.equal, tensors(a), tensors(b)))


def multiple(seed=0):
    source, _, singles, _, cache = world()
    crops = MultiCrop(large_size=64, small_size=48, stride=16)
    arrangement = MultipleArrangements(single_object_frames(singles))
    return stream(arrangement, source, cache, seed, crops, labelled_size=SIZE)


def test_a_view_set_is_a_function_of_seed_and_index():
    first = [multiple()[i] for i in range(3)]
    torch.manual_seed(123)
    torch.rand(7)
    again = pickle.loads(pickle.dumps(multiple()))  # noqa: S301 - as the processes that read get it
    assert all(equal(first[i], again[i]) for i in (2, 0, 1))
    assert not equal(first[0], first[1])
    assert not equal(first[0], multiple(seed=1)[0])


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    multiple()[0]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_make_the_same_batches(workers):
    made = multiple()
    loader = DataLoader(Subset(made, range(4)), batch_size=2, collate_fn=collate_views, num_workers=workers)
    batches = list(loader)
    assert all(equal(batches[i], collate_views([made[2 * i], made[2 * i + 1]])) for i in range(2))


def test_a_batch_feeds_the_losses():
    views = collate_views([multiple()[i] for i in range(3)])
    torch.manual_seed(0)
    backbone = torch.nn.Conv2d(3, 16, 16, stride=16)
    maps = [backbone(image) for image in views.images]
    assert [map_.shape[2:] for map_ in maps] == [grid.size for grid in views.grids]
    embeddings = [map_.mean((2, 3)) for map_ in maps]
    loss = VICRegLLoss(num_matches=(8, 4))(embeddings, maps, views.grids, num_large=views.num_large)
    matches = segment_matches(views.cell_segments[0], views.cell_segments[5], 20, torch.Generator().manual_seed(0))
    loss = loss + MatchedVICRegLoss(statistics="matches")(maps[0], maps[5], matches)
    loss.backward()
    assert loss.isfinite()
    assert backbone.weight.grad.isfinite().all()
    assert backbone.weight.grad.any()
    # Matched cells bear the same segment, one of the seed's.
    a = views.cell_segments[0].flatten(1).gather(1, matches.index_a)[matches.valid]
    b = views.cell_segments[5].flatten(1).gather(1, matches.index_b)[matches.valid]
    assert torch.equal(a, b)
    assert (a > 0).all()


def test_view_sets_of_other_forms_are_not_batched():
    source, _, _, _, cache = world()
    plain = stream(SingleFrame(), source)[0]
    for other in (
        stream(SingleFrame(), source, cache)[0],
        stream(SingleFrame(), source, labelled_size=SIZE)[0],
        ViewStream([(source, "data/0000/000001", None)], SingleFrame(), crops=MultiCrop(), seed=0)[0],
    ):
        with pytest.raises(ValueError, match="one form"):
            collate_views([plain, other])
    with pytest.raises(ValueError, match="at least one"):
        collate_views([])


def test_all_frames_have_segments_or_none_has():
    source, _, _, _, cache = world()
    name = "data/0000/000001"
    with pytest.raises(ValueError, match="all have a cache"):
        ViewStream([(source, name, cache), (source, name, None)], SingleFrame(), crops=MultiCrop(), seed=0)


@pytest.mark.parametrize("kind", ["single", "paired", "multiple"])
def test_contact_sheets(tmp_path, kind):
    source, pairs, _, _, _ = world()
    made = {
        "single": stream(SingleFrame(), source, labelled_size=SIZE),
        "paired": stream(Paired(pairs), source),
        "multiple": multiple(),
    }[kind]
    draw_view_set(tmp_path / "sheet.png", made, 0, kind)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_sheets_of_every_arrangement_of_embedded_scenes(tmp_path):
    for package in ("mitsuba", "mujoco", "trimesh"):
        pytest.importorskip(package)
    settings = SceneSettings(
        width=96, height=72, num_synthetic=1, num_target=2, num_test=1, frames_per_video=2, samples_per_pixel=1
    )
    data = generate_scenes(tmp_path / "data", settings, workers=1, progress=False)
    draw_arrangements(data, tmp_path / "sheets", count=1, poses_per_class=1, workers=1)
    names = ["multiple_arrangements", "multiple_frames", "paired", "single_frame", "unpaired"]
    assert sorted(path.stem for path in (tmp_path / "sheets").glob("*.png")) == [f"{name}-0" for name in names]

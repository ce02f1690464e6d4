"""Views of real frames, and of renders of their objects."""

import os
from pathlib import Path

import pytest
import torch
from ycb_layouts import real_sample

from correspondence_losses.correspond import MultiCrop
from correspondence_losses.reference.commands.views import draw_arrangements
from correspondence_losses.reference.data import YCBVideo
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, presegment
from correspondence_losses.reference.streams import MultipleFrames, SingleFrame, ViewStream


def models():
    root = Path(__file__).parents[4] / "shared/ycb_models"
    root = Path(os.environ.get("CORRESPONDENCE_LOSSES_YCB_MODELS", root))
    if not root.is_dir():
        pytest.skip(f"no YCB models at {root} (set CORRESPONDENCE_LOSSES_YCB_MODELS)")
    return root


def test_cells_from_other_frames_show_the_same_point_of_the_same_object():
    source = YCBVideo(real_sample())
    frames = [(source, name) for name in source.frames("train") if name.startswith("data/0001")]
    stream = ViewStream([(*frame, None) for frame in frames[:3]], MultipleFrames(frames), crops=MultiCrop(), seed=0)
    distances = []
    for index in range(3):
        seed, placed, _ = stream.placed(index)
        views = stream[index]
        coordinates, label = torch.from_numpy(seed.frame.object_coordinates), torch.from_numpy(seed.frame.label)
        others = [source.frame(name) for _, name in frames]
        for i in range(5, 8):
            other = next(
                frame
                for frame in others
                if torch.equal(torch.from_numpy(frame.image).permute(2, 0, 1), placed[i].picture.image)
            )
            grid, own = views.grids[i], placed[i].crop.grid(3)
            assert grid.valid.any()
            x, y = grid.points[grid.valid].long().unbind(-1)
            u, v = own.points[grid.valid].long().unbind(-1)
            assert torch.equal(label[y, x], torch.from_numpy(other.label)[v, u])
            distances.append((coordinates[y, x] - torch.from_numpy(other.object_coordinates)[v, u]).norm(dim=-1))
    found = torch.cat(distances)
    assert len(found) > 10
    assert found.median() < 0.002
    assert found.max() < 0.02


def test_segments_of_a_real_frame(tmp_path):
    source = YCBVideo(real_sample())
    name = source.frames("train")[0]
    cache = presegment(source, [name], tmp_path, FelzenszwalbSegmenter(), progress=False)
    views = ViewStream([(source, name, cache)], SingleFrame(), crops=MultiCrop(), seed=0)[0]
    known = set(torch.from_numpy(cache.load(name).astype("int64")).unique().tolist())
    for pixels, cells in zip(views.segments, views.cell_segments, strict=True):
        assert set(pixels.unique().tolist()) <= known
        assert set(cells.unique().tolist()) <= set(pixels.unique().tolist()) | {0}


def test_sheets_of_real_frames(tmp_path):
    names = ("single_frame", "unpaired", "multiple_frames")
    draw_arrangements(real_sample(), tmp_path, arrangements=names, count=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}-0.png" for name in names)


def test_sheets_of_renders(tmp_path):
    pytest.importorskip("mitsuba")
    pytest.importorskip("trimesh")
    draw_arrangements(real_sample(), tmp_path, models=models(), arrangements=("paired",), count=1, workers=1)
    assert (tmp_path / "paired-0.png").exists()


def test_renders_need_the_meshes_of_the_data(tmp_path):
    with pytest.raises(ValueError, match="models must be the folder of the meshes"):
        draw_arrangements(real_sample(), tmp_path, arrangements=("multiple_arrangements",), count=1)
    with pytest.raises(ValueError, match="count"):
        draw_arrangements(real_sample(), tmp_path, count=0)

"""The Stillleben adapter against a stand-in module.

Stillleben has no wheel and needs a GPU, so it has not run here. The stand-in has the names of its Python bindings and
keeps what it is given. These tests show that the adapter hands over poses, intrinsics, meshes, light and background as
the bindings want them, and reads the buffers as they are documented. They do not show that Stillleben's pictures come
out right: not its projection, its handling of textures and light, its physics, or its behaviour on today's PyTorch.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from correspondence_losses.reference.scenes import (
    Camera,
    Ground,
    Scene,
    SceneObject,
    StilllebenRenderer,
    procedural_object,
)


class StandIn(ModuleType):
    """Records what it is given; draws object 1 at one pixel, the ground at a second, and nothing elsewhere."""

    def __init__(self):
        super().__init__("stillleben")
        self.calls, self.stages = [], []
        module = self

        class Stage:
            def __init__(self, viewport_size):
                self.size, self.objects = viewport_size, []
                self.light_directions, self.light_colors = torch.zeros(3, 3), torch.zeros(3, 3)
                module.stages.append(self)

            def set_camera_intrinsics(self, fx, fy, cx, cy):
                self.intrinsics = fx, fy, cx, cy

            def set_camera_pose(self, pose):
                self.camera_pose = pose

            def add_object(self, item):
                self.objects.append(item)

            def simulate_tabletop_scene(self):
                self.background_plane_pose = torch.eye(4)
                self.background_plane_pose[2, 3] = 0.04
                for height, item in enumerate(self.objects):
                    pose = torch.eye(4)
                    pose[2, 3] = 0.1 + height
                    item.set_pose(pose)

        class Item:
            def __init__(self, mesh):
                self.mesh = mesh

            def set_pose(self, pose):
                assert pose.dtype == torch.float32
                self._pose = pose

            def pose(self):
                return self._pose

        class Result:
            def __init__(self, size):
                self.shape = size[1], size[0]

            def _map(self, empty, dtype, values, channels=1):
                image = torch.full((*self.shape, channels), empty, dtype=dtype)
                image[1, 2], image[0, 0] = torch.tensor(values[0], dtype=dtype), torch.tensor(values[1], dtype=dtype)
                return image

            def rgb(self):
                return self._map(0, torch.uint8, ([200, 100, 50, 255], [10, 10, 10, 255]), 4)

            def instance_index(self):
                return self._map(0, torch.int16, ([1], [0]))

            def depth(self):
                return self._map(3000.0, torch.float32, ([0.8], [0.9]))[..., 0]

            def coordinates(self):
                return self._map(3000.0, torch.float32, ([0.1, 0.2, 0.3], [1.0, 1.0, 0.0]), 3)

        class Pass:
            def __init__(self, shading):
                assert shading in ("pbr", "phong", "flat")

            def render(self, stage):
                return Result(stage.size)

        self.Scene, self.Object, self.RenderPass = Stage, Item, Pass
        self.Mesh = lambda filename: module.calls.append(("Mesh", filename)) or filename
        self.LightMap = lambda path: ("LightMap", path)
        self.Texture = lambda tensor: ("Texture", tensor)
        self.Texture2D = lambda tensor: ("Texture2D", tensor)
        self.init = lambda: self.calls.append(("init",))
        self.init_cuda = lambda index: self.calls.append(("init_cuda", index))


@pytest.fixture
def stand_in(monkeypatch):
    module = StandIn()
    monkeypatch.setitem(sys.modules, "stillleben", module)
    return module


@pytest.fixture
def scene():
    camera_pose, pose = np.eye(4), np.eye(4)
    camera_pose[:3, 3], pose[:3, 3] = [0, 0, -1], [0.1, 0, 0]
    environment = np.full((8, 16, 3), 0.5, np.float32)
    environment[1, 4] = 50
    camera = Camera(4, 3, np.array([[100.0, 0, 1.5], [0, 101.0, 1.0], [0, 0, 1]]), camera_pose)
    ground = Ground(np.zeros((2, 2, 3), np.uint8), 0.7)
    background = np.zeros((3, 4, 3), np.uint8)
    objects = [SceneObject(procedural_object(4), pose, 4), SceneObject(procedural_object(4), np.eye(4), 0)]
    return Scene(camera, objects, environment, ground, background)


def test_hands_over_the_scene(stand_in, scene):
    StilllebenRenderer().render(scene, seed=0)
    (stage,) = stand_in.stages
    assert stand_in.calls[0] == ("init",)
    assert stage.size == (4, 3)
    assert stage.intrinsics == (100.0, 101.0, 2.0, 1.5)
    np.testing.assert_allclose(stage.camera_pose, scene.camera.pose)
    np.testing.assert_allclose(stage.objects[0].pose(), scene.objects[0].pose, atol=1e-7)
    assert [item.instance_index for item in stage.objects] == [1, 2]
    assert stage.objects[0].roughness == scene.objects[0].material.roughness
    assert stage.background_plane_size.tolist() == pytest.approx([1.4, 1.4])
    assert stage.background_plane_texture[0] == "Texture2D"
    assert stage.background_image[0] == "Texture"
    lamp = np.pi * 1.5 / 8
    azimuth = 4.5 / 16 * 2 * np.pi
    toward = [np.sin(lamp) * np.cos(azimuth), np.sin(lamp) * np.sin(azimuth), np.cos(lamp)]
    np.testing.assert_allclose(stage.light_directions[0], -np.array(toward), atol=1e-6)
    assert (stage.light_colors[0] > 0).all()
    assert not stage.light_colors[1:].any()
    assert (stage.ambient_light > 0.5).all()


def test_reads_the_buffers(stand_in, scene):
    frame = StilllebenRenderer().render(scene, seed=0)
    assert frame.color[1, 2].tolist() == [200, 100, 50]
    assert frame.label[1, 2] == 4
    assert frame.label.sum() == 4
    assert frame.instance.sum() == 1
    np.testing.assert_allclose(frame.depth[[1, 0, 2], [2, 0, 3]], [0.8, 0.9, 0])
    np.testing.assert_allclose(frame.coordinates[1, 2], [0.1, 0.2, 0.3])
    assert np.count_nonzero(frame.coordinates) == 3
    assert frame.class_indexes.tolist() == [4]
    np.testing.assert_allclose(frame.poses[0, :, 3], [0.1, 0, 1])


def test_meshes_are_read_once_and_procedural_ones_from_a_written_file(stand_in, scene):
    renderer = StilllebenRenderer()
    renderer.render(scene, seed=0)
    renderer.render(scene, seed=0)
    paths = [Path(call[1]) for call in stand_in.calls if call[0] == "Mesh"]
    assert len(paths) == len(set(paths)) == 2
    text = paths[0].read_text().splitlines()
    mesh = scene.objects[0].mesh
    vertices = np.array([line.split()[1:] for line in text if line.startswith("v ")], dtype=float)
    np.testing.assert_allclose(vertices, mesh.vertices, atol=1e-6)
    faces = [[int(corner.split("/")[0]) - 1 for corner in line.split()[1:]] for line in text if line.startswith("f ")]
    np.testing.assert_array_equal(faces, mesh.faces)
    assert (paths[0].parent / "texture.png").is_file()
    trimesh = pytest.importorskip("trimesh", reason="needs the extra scenes")
    again = trimesh.load(paths[0], process=False, force="mesh")
    assert len(again.faces) == len(mesh.faces)
    np.testing.assert_array_equal(np.asarray(again.visual.material.image.convert("RGB")), mesh.texture)


def test_light_map_and_gpu(stand_in, scene, tmp_path):
    StilllebenRenderer(light_map=tmp_path / "room.ibl", cuda_device=1).render(scene, seed=0)
    assert stand_in.calls[0] == ("init_cuda", 1)
    assert stand_in.stages[0].light_map == ("LightMap", str(tmp_path / "room.ibl"))


def test_arrange_gives_poses_above_the_table(stand_in):
    poses = StilllebenRenderer().arrange([procedural_object(1), procedural_object(2)], (4, 3))
    np.testing.assert_allclose([pose[2, 3] for pose in poses], [0.06, 1.06], atol=1e-6)


def test_without_stillleben_the_message_says_where_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "stillleben", None)
    with pytest.raises(ModuleNotFoundError, match=r"AIS-Bonn/stillleben.*'embedded'"):
        StilllebenRenderer()

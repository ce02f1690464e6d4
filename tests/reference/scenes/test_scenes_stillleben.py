"""The Stillleben adapter: a scene is the same scene as from the embedded renderer.

Most tests run twice: against a stand-in with the traps of the real library, and, marked ``stillleben``, against the
real one where it can be imported. It needs EGL and OpenGL 4.5; Mesa's software renderer will do.
"""

import gc
import importlib
import os
import sys
import tempfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.spatial.transform import Rotation
from stillleben_stand_in import stand_in

from correspondence_losses.reference.data import YCBVideo
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.scenes import (
    Camera,
    EmbeddedRenderer,
    Ground,
    Material,
    MeshLibrary,
    Scene,
    SceneObject,
    SceneSettings,
    StilllebenRenderer,
    annotate,
    generate_scenes,
    procedural_object,
    ycb_video_camera,
)
from correspondence_losses.reference.scenes.lighting import environment_directions, look_up_environment
from correspondence_losses.reference.scenes.sensor import from_srgb, to_srgb
from correspondence_losses.reference.scenes.shapes import assemble, box

SIZE = (64, 48)
EVEN = np.full((16, 32, 3), 0.5, np.float32)
QUARTERS = np.array([[[200, 40, 40], [40, 200, 40]], [[40, 40, 200], [200, 200, 40]]], np.uint8)
GREY = np.full((4, 4, 3), 128, np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def library(monkeypatch):
    module = stand_in()
    monkeypatch.setitem(sys.modules, "stillleben", module)
    return module


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.stillleben)])
def renderer(request):
    if request.param == "real":
        pytest.importorskip("stillleben", reason="needs Stillleben, which has no wheel")
    else:
        request.getfixturevalue("library")
    return StilllebenRenderer()


def looking_down(size=SIZE, height=0.9):
    """A camera above the origin: x of the image is the world's, y is the world's -y."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("x", 180, degrees=True).as_matrix()
    pose[2, 3] = height
    return ycb_video_camera(*size, pose)


def objects(seed, count=3):
    rng = np.random.default_rng(seed)
    placed = []
    for number, index in enumerate(rng.permutation(np.arange(1, len(CLASS_NAMES)))[:count]):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        pose[:3, 3] = [0.14 * number - 0.14, *rng.uniform(-0.06, 0.06, 1), 0.15]
        placed.append(SceneObject(procedural_object(int(index)), pose, int(index)))
    return placed


def block(size, color):
    texture = np.full((4, 4, 3), color, np.uint8)
    return assemble("block", [(part, texture) for part in box(size)])


def standing(mesh):
    pose = np.eye(4)
    pose[2, 3] = -mesh.vertices[:, 2].min()
    return SceneObject(mesh, pose, 1)


def lamp(azimuth, elevation=45, power=150.0):
    """Dim light, and a lamp in the direction (degrees; azimuth from x towards y)."""
    a, e = np.radians([azimuth, elevation])
    toward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    near = environment_directions(64, 128) @ toward > np.cos(np.radians(6))
    return np.where(near[..., None], power, 0.2).astype(np.float32).repeat(3, axis=-1)


def shadow(frame):
    """The ground that is darker than half of what is usual."""
    light = from_srgb(frame.color).mean(axis=-1)
    ground = (frame.instance == 0) & (frame.depth > 0)
    return ground & (light < np.median(light[ground]) / 2)


def inner(frame):
    """The pixels whose neighbours show the same object: colours at edges depend on anti-aliasing."""
    same = np.ones(frame.instance.shape, bool)
    for index in np.unique(frame.instance):
        mask = frame.instance == index
        same &= ~(binary_dilation(mask) & ~binary_erosion(mask, border_value=1))
    return same


@pytest.mark.parametrize("size", [SIZE, (63, 47), (33, 40)])
def test_label_depth_and_coordinates_are_those_of_our_rasteriser(renderer, size):
    scene = Scene(looking_down(size), objects(0), EVEN, Ground(GREY, 0.4))
    frame, expected = renderer.render(scene, seed=0), annotate(scene)
    same = frame.label == expected.label
    assert same.mean() > 0.995
    assert (frame.instance == expected.instance).mean() > 0.995
    np.testing.assert_allclose(frame.depth[same], expected.depth[same], atol=1e-4)
    np.testing.assert_allclose(frame.coordinates[same], expected.coordinates[same], atol=2e-3)
    np.testing.assert_array_equal(frame.class_indexes, expected.class_indexes)
    np.testing.assert_array_equal(frame.poses, expected.poses)
    assert frame.color.shape == (size[1], size[0], 3)


def test_object_coordinates_land_on_their_pixel(renderer):
    """Principal point, both focal lengths and the half pixel between the two conventions reach the library."""
    camera = Camera(64, 48, np.array([[130.0, 0, 40.0], [0, 104.0, 17.0], [0, 0, 1]]), looking_down().pose)
    frame = renderer.render(Scene(camera, objects(1), EVEN), seed=0)
    y, x = np.nonzero(frame.label)
    pose = dict(zip(frame.class_indexes.tolist(), frame.poses, strict=True))
    points = np.array(
        [pose[c][:, :3] @ p + pose[c][:, 3] for c, p in zip(frame.label[y, x], frame.coordinates[y, x], strict=True)]
    )
    pixels = points @ camera.intrinsics.T
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], np.stack([x, y], axis=1), atol=0.02)
    np.testing.assert_allclose(points[:, 2], frame.depth[y, x], atol=1e-4)


def test_poses_are_rigid_to_the_precision_that_scenes_admit(renderer):
    tilt = np.eye(4)
    tilt[0, 1] = 8e-4
    placed = [replace(item, pose=item.pose @ tilt) for item in objects(0)]
    camera = looking_down()
    scene = Scene(replace(camera, pose=camera.pose @ tilt), placed, EVEN)
    frame, expected = renderer.render(scene, seed=0), annotate(scene)
    assert (frame.label == expected.label).mean() > 0.99
    np.testing.assert_array_equal(frame.poses, expected.poses)


def test_one_renderer_draws_images_of_several_sizes(renderer):
    for size in (SIZE, (80, 60), (40, 30), SIZE):
        scene = Scene(looking_down(size), objects(0), EVEN, Ground(GREY))
        frame = renderer.render(scene, seed=0)
        assert frame.label.shape == (size[1], size[0])
        assert (frame.label == annotate(scene).label).mean() > 0.99


def test_the_table_lies_as_in_the_embedded_renderer(renderer):
    texture = QUARTERS.repeat(16, axis=0).repeat(16, axis=1)
    frame = renderer.render(Scene(looking_down(), [], EVEN, Ground(texture, 0.18)), seed=0)
    assert np.count_nonzero(frame.depth) > 100
    assert not frame.label.any()
    assert not frame.coordinates.any()
    y, x = np.nonzero(binary_erosion(frame.depth > 0))  # at the table's edge, filters mix in the opposite one
    for row, rows in enumerate((y < np.median(y) - 3, y > np.median(y) + 3)):
        for column, columns in enumerate((x < np.median(x) - 3, x > np.median(x) + 3)):
            seen = from_srgb(frame.color[y[rows & columns], x[rows & columns]])
            hues = from_srgb(QUARTERS).reshape(-1, 3)
            nearest = [np.linalg.norm(seen / seen.max(axis=1, keepdims=True) - h / h.max(), axis=1) for h in hues]
            assert (np.argmin(nearest, axis=0) == 2 * row + column).all()


def test_the_background_stands_upright_behind_everything(renderer):
    background = QUARTERS.repeat(24, axis=0).repeat(32, axis=1)
    white = block((0.2, 0.2, 0.1), 250)
    scene = Scene(looking_down(), [standing(white)], EVEN, background=background)
    frame = renderer.render(scene, seed=0)
    empty = frame.depth == 0
    assert 100 < empty.sum() < empty.size - 100
    np.testing.assert_array_equal(frame.color[empty], background[empty])
    seen = frame.color[~empty].astype(int)
    assert seen.min() > 180
    assert np.ptp(seen, axis=1).max() < 10


def test_the_environment_is_seen_where_nothing_stands(renderer):
    camera = looking_down()
    camera = replace(camera, pose=camera.pose @ np.diag([1, -1, -1, 1.0]) @ _turned(0.3))  # up, and a little aslant
    environment = np.random.default_rng(0).uniform(0.1, 0.9, (8, 16, 3)).astype(np.float32)
    frame = renderer.render(Scene(camera, [], environment), seed=0)
    expected = look_up_environment(environment, camera.rays() @ camera.pose[:3, :3].T)
    np.testing.assert_allclose(frame.color, to_srgb(expected) * 255, atol=1)
    assert not frame.depth.any()


def _turned(angle):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xy", [angle, 2 * angle]).as_matrix()
    return pose


@pytest.mark.parametrize("azimuth", [0, 30, 90, 200, 305])
def test_a_shadow_falls_away_from_the_lamp(renderer, azimuth):
    scene = Scene(looking_down(), [standing(block((0.06, 0.06, 0.12), 200))], lamp(azimuth), Ground(GREY))
    dark = shadow(renderer.render(scene, seed=0))
    assert dark.sum() > 30
    row, column = np.argwhere(dark).mean(axis=0)
    away = np.array([column - scene.camera.intrinsics[0, 2], scene.camera.intrinsics[1, 2] - row])
    turn = np.degrees(np.arctan2(away[1], away[0])) - azimuth - 180
    assert abs((turn + 180) % 360 - 180) < 15


@pytest.mark.parametrize("azimuth", [60, 150, 290])
def test_shadow_and_colours_are_those_of_the_embedded_renderer(renderer, azimuth):
    pytest.importorskip("mitsuba", reason="needs the extra scenes")
    placed = [standing(block((0.06, 0.06, 0.12), (180, 90, 60)))]
    scene = Scene(looking_down(), placed, lamp(azimuth), Ground(np.full((4, 4, 3), 150, np.uint8)))
    ours, theirs = EmbeddedRenderer(64).render(scene, seed=0), renderer.render(scene, seed=0)
    both = shadow(ours) & shadow(theirs)
    assert both.sum() / (shadow(ours) | shadow(theirs)).sum() > 0.75
    for axis in (0, 1):
        assert abs(np.nonzero(shadow(ours))[axis].mean() - np.nonzero(shadow(theirs))[axis].mean()) < 1
    difference = np.abs(ours.color.astype(int) - theirs.color)[inner(ours)]
    assert difference.mean() < 12


@pytest.mark.parametrize("variables", [{}, {"MESA_EXTENSION_OVERRIDE": "-GL_ARB_sync"}])
def test_the_environment_variables_stay_as_they_were(renderer, monkeypatch, variables):
    """Mesa is told by one of them, while the library starts, what it must not do."""
    monkeypatch.delenv("MESA_EXTENSION_OVERRIDE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    StilllebenRenderer()
    assert dict(os.environ) == before


def test_a_lamp_may_stand_straight_above(renderer):
    scene = Scene(looking_down(), [standing(block((0.06, 0.06, 0.12), 200))], EVEN.copy(), Ground(GREY))
    scene.environment[0] = 30
    frame = renderer.render(scene, seed=0)
    ground = (frame.instance == 0) & (frame.depth > 0)
    assert np.abs(frame.color[ground].astype(int) - np.median(frame.color[ground])).mean() < 12


@pytest.mark.parametrize("power", [0.05, 1.0, 300.0])
def test_the_exposure_suits_the_light(renderer, power):
    placed = [standing(block((0.1, 0.1, 0.05), (180, 90, 60)))]
    frame = renderer.render(Scene(looking_down(), placed, EVEN * power, Ground(GREY)), seed=0)
    # A surface under the usual light is shown at 0.8 of its colour.
    for index, color in ((0, [128, 128, 128]), (1, [180, 90, 60])):
        expected = to_srgb(0.8 * from_srgb(np.array(color, np.uint8))) * 255
        np.testing.assert_allclose(np.median(frame.color[frame.instance == index], axis=0), expected, atol=8)


def test_surfaces_and_the_environment_are_exposed_alike(renderer):
    """Under even light a surface is as bright as the light behind it, times its colour."""
    color = np.array([180, 90, 60], np.uint8)
    placed = [standing(block((0.1, 0.1, 0.05), color))]
    frame = renderer.render(Scene(looking_down(), placed, EVEN), seed=0)
    surface, behind = (np.median(from_srgb(frame.color[frame.instance == index]), axis=0) for index in (1, 0))
    np.testing.assert_allclose(surface / behind, from_srgb(color), rtol=0.08)


def test_greys_come_out_as_they_are_in_the_texture(renderer):
    greys = np.array([10, 20, 40, 80, 120, 160, 200, 240], np.uint8)
    texture = np.broadcast_to(greys[:, None, None], (8, 8, 3)).repeat(16, axis=0).copy()
    frame = renderer.render(Scene(looking_down(), [], EVEN, Ground(texture, 0.18)), seed=0)
    rows = np.nonzero(frame.depth.any(axis=1))[0]
    middle = [rows[0] + round((i + 0.5) * len(rows) / 8) for i in range(8)]
    seen = np.array([np.median(frame.color[row, 20:40]) for row in middle])
    gain = from_srgb(seen[5:6].astype(np.uint8)) / from_srgb(greys[5:6])
    np.testing.assert_allclose(seen, to_srgb(gain * from_srgb(greys)) * 255, atol=5)


def test_the_border_of_an_image_is_as_bright_as_its_middle(renderer):
    frame = renderer.render(Scene(looking_down(), [], EVEN, Ground(GREY)), seed=0)
    assert np.ptp(frame.color.astype(int), axis=(0, 1)).max() <= 2


def test_metal_and_gloss_reach_the_objects(renderer):
    """A smooth surface mirrors the lamp, and metal has no diffuse light of it."""
    mesh = block((0.3, 0.3, 0.02), 128)
    environment = lamp(0, elevation=45)

    def seen(material):
        item = replace(standing(mesh), material=material)
        frame = renderer.render(Scene(looking_down(), [item], environment, Ground(GREY)), seed=0)
        light = from_srgb(frame.color).mean(axis=-1)
        return np.median(light[frame.label == 1]) / np.median(light[frame.instance == 0])

    plain, metal = seen(Material(roughness=0.9)), seen(Material(roughness=0.9, metallic=1.0))
    assert metal < 0.7 * plain


def test_surfaces_nearer_than_10_cm_or_farther_than_10_m_are_not_drawn(renderer):
    far = np.eye(4)
    far[2, 3] = 12
    near = np.eye(4)
    near[2, 3] = 0.05
    camera = ycb_video_camera(*SIZE)
    background = np.full((48, 64, 3), 77, np.uint8)
    for pose in (near, far):
        mesh = block((1, 1, 0.01), 200)
        frame = renderer.render(Scene(camera, [SceneObject(mesh, pose, 1)], EVEN, background=background), seed=0)
        assert not frame.label.any()
        assert not frame.depth.any()
        assert (frame.color == 77).all()


def test_clutter_hides_but_has_no_label(renderer):
    first, *others = objects(3)
    camera = looking_down()
    frame = renderer.render(Scene(camera, [replace(first, class_index=0), *others], EVEN), seed=0)
    assert (frame.instance == 1).any()
    assert not frame.label[frame.instance == 1].any()
    assert not frame.coordinates[frame.instance == 1].any()
    assert first.class_index not in frame.class_indexes


def write_models(folder):
    """The 21 classes as blocks of dark blue, in the layout of the YCB meshes: PNG textures."""
    mesh = block((0.1, 0.1, 0.1), 0)
    lines = ["mtllib textured.mtl", "usemtl m"]
    for keyword, values in (("v", mesh.vertices), ("vt", mesh.uv), ("vn", mesh.normals)):
        lines += [f"{keyword} " + " ".join(map(str, row)) for row in values]
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in mesh.faces + 1]
    for name in CLASS_NAMES[1:]:
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (20, 20, 120)).save(folder / name / "texture.png")
        (folder / name / "textured.mtl").write_text("newmtl m\nmap_Kd texture.png\n")
        (folder / name / "textured.obj").write_text("\n".join(lines))


def listing(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_meshes_from_files_keep_the_textures_that_they_were_given(renderer, folder):
    pytest.importorskip("trimesh", reason="needs the extra scenes")
    write_models(folder / "models")
    plain = MeshLibrary(folder / "models")[2]
    worn = replace(plain, texture=np.full_like(plain.texture, (200, 60, 60)))
    for mesh, strongest in ((plain, 2), (worn, 0)):
        frame = renderer.render(Scene(looking_down(), [standing(mesh)], EVEN, Ground(GREY)), seed=0)
        assert (frame.color[frame.label == 1].argmax(axis=1) == strongest).all()


def test_the_users_models_are_left_alone(renderer, folder):
    pytest.importorskip("trimesh", reason="needs the extra scenes")
    write_models(folder / "models")
    before = listing(folder / "models")
    mesh = MeshLibrary(folder / "models")[3]
    renderer.render(Scene(looking_down(), [standing(mesh)], EVEN), seed=0)
    assert not list(folder.rglob("*.sl_mesh"))  # convex parts for the physics take seconds
    poses = renderer.arrange([mesh, procedural_object(5)], SIZE)
    assert list(folder.rglob("*.sl_mesh"))
    assert listing(folder / "models") == before
    for pose, placed in zip(poses, (mesh, procedural_object(5)), strict=True):
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-4)
        assert (placed.vertices @ pose[:3, :3].T + pose[:3, 3])[:, 2].min() > -0.01


def test_files_of_a_mesh_go_with_it(renderer, folder):
    before = listing(folder)
    mesh = block((0.1, 0.1, 0.1), 90)
    renderer.render(Scene(looking_down(), [standing(mesh)], EVEN), seed=0)
    renderer.render(Scene(looking_down(), [standing(mesh)], EVEN), seed=0)
    assert len(list(folder.rglob("mesh.obj"))) == 1
    del mesh
    gc.collect()
    assert listing(folder) == before


@pytest.mark.parametrize("ground", [None, Ground(GREY, 0.2)])
def test_a_light_map_takes_the_place_of_the_environment(renderer, folder, ground):
    cv2.imwrite(str(folder / "room.hdr"), np.full((32, 64, 3), 0.3, np.float32))
    (folder / "room.ibl").write_text("[Reflection]\nREFfile=room.hdr\nREFmap=1\n")
    renderer = StilllebenRenderer(light_map=folder / "room.ibl")
    background = np.full((48, 64, 3), 77, np.uint8)
    scene = Scene(looking_down(), [standing(block((0.1, 0.1, 0.05), 200))], lamp(60, power=1e3), ground)
    frame = renderer.render(scene, seed=0)
    reflected, behind = (np.median(from_srgb(frame.color[mask])) for mask in (frame.label == 1, frame.depth == 0))
    assert reflected / behind == pytest.approx(from_srgb(np.uint8(200)), rel=0.08)
    if ground is not None:
        assert not shadow(frame).any()
    frame = renderer.render(replace(scene, background=background), seed=0)
    assert (frame.color[frame.depth == 0] == 77).all()


def test_a_light_map_that_is_missing_is_named(renderer, folder):
    with pytest.raises(FileNotFoundError, match=r"light_map must be a file, got .*none\.ibl"):
        StilllebenRenderer(light_map=folder / "none.ibl")


def test_the_gpu_is_chosen(library):
    StilllebenRenderer(cuda_device=1)
    assert library.devices == ["cuda:1"]


def test_without_stillleben_the_message_says_where_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "stillleben", None)
    with pytest.raises(ModuleNotFoundError, match=r"AIS-Bonn/stillleben.*'embedded'"):
        StilllebenRenderer()


def test_without_stillleben_nothing_is_written(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "stillleben", None)
    with pytest.raises(ModuleNotFoundError, match=r"AIS-Bonn/stillleben"):
        generate_scenes(folder / "scenes", SceneSettings(renderer="stillleben"), workers=2, progress=False)
    assert not (folder / "scenes").exists()


def test_a_data_set_of_its_scenes(renderer, folder):
    """Nothing downstream knows which renderer it was."""
    pytest.importorskip("mujoco", reason="needs the extra scenes")
    few = SceneSettings(width=33, height=24, num_synthetic=1, num_target=1, num_test=0, max_objects=3)
    root = generate_scenes(folder / "scenes", replace(few, renderer="stillleben"), workers=1, progress=False)
    data = YCBVideo(root)
    for split in ("synthetic", "train"):
        (name,) = data.frames(split)
        frame = data.frame(name)
        assert frame.image.shape[:2] == frame.label.shape == (24, 33)
        assert frame.label.any()
        assert frame.image.std() > 5


def test_a_part_that_stillleben_lacks_is_named(monkeypatch, tmp_path):
    (tmp_path / "stillleben.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "stillleben", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        StilllebenRenderer()

"""Annotations of scenes agree with each other and with the colours; arrangements are physical."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.scenes import (
    SYNTHETIC,
    TARGET,
    Camera,
    EmbeddedRenderer,
    Ground,
    MeshLibrary,
    Scene,
    SceneMaker,
    SceneObject,
    Sensor,
    annotate,
    procedural_object,
    settle,
    ycb_video_camera,
)
from correspondence_losses.reference.scenes.denoise import denoise
from correspondence_losses.reference.scenes.guides import surface_guides
from correspondence_losses.reference.scenes.lighting import load_environment, room_environment, studio_environment
from correspondence_losses.reference.scenes.rasterize import rasterize
from correspondence_losses.reference.scenes.sensor import automatic_exposure, develop, from_srgb, to_srgb
from correspondence_losses.reference.scenes.textures import plain

SIZE = (64, 48)
GREY = np.full((8, 16, 3), 0.5, np.float32)


def posed_scene(seed: int, count: int = 3, size: tuple[int, int] = SIZE, ground: bool = False) -> Scene:
    """Objects at random before the camera, which looks down on them."""
    rng = np.random.default_rng(seed)
    camera_pose = np.eye(4)
    camera_pose[:3, :3] = Rotation.from_euler("x", 180, degrees=True).as_matrix()
    camera_pose[2, 3] = 0.9
    objects = []
    for index in rng.permutation(np.arange(1, len(CLASS_NAMES)))[:count]:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        pose[:3, 3] = [*rng.uniform(-0.12, 0.12, 2), rng.uniform(0.05, 0.2)]
        objects.append(SceneObject(procedural_object(int(index)), pose, int(index)))
    table = Ground(plain(rng, (120, 120, 120))) if ground else None
    return Scene(ycb_video_camera(*size, camera_pose), objects, GREY, table)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ground=st.booleans())
def test_object_coordinates_land_on_their_pixel(seed, ground):
    scene = posed_scene(seed, ground=ground)
    found = annotate(scene)
    y, x = np.nonzero(found.label)
    pose = dict(zip(found.class_indexes.tolist(), found.poses, strict=True))
    assert len(y) > 0
    for row, column in zip(y, x, strict=True):
        at = pose[int(found.label[row, column])]
        point = at[:, :3] @ found.coordinates[row, column].astype(np.float64) + at[:, 3]
        u, v, w = scene.camera.intrinsics @ point
        assert abs(u / w - column) < 0.01
        assert abs(v / w - row) < 0.01
        assert abs(point[2] - found.depth[row, column]) < 1e-5


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rasterised_depth_is_that_of_the_nearest_triangle_on_the_ray(seed):
    scene = posed_scene(seed, count=2, size=(16, 12))
    found = annotate(scene)
    rays = scene.camera.rays()
    nearest = np.full(rays.shape[:2], np.inf)
    for item, pose in zip(scene.objects, scene.object_poses(), strict=True):
        vertices = item.mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
        a, b, c = (vertices[item.mesh.faces[:, i]] for i in range(3))
        normal = np.cross(b - a, c - a)
        for row, column in np.ndindex(*nearest.shape):
            ray = rays[row, column]
            with np.errstate(divide="ignore", invalid="ignore"):
                z = np.einsum("mc,mc->m", normal, a) / (normal @ ray)
                hit = z[:, None] * ray
                sides = [np.einsum("mc,mc->m", normal, np.cross(q - p, hit - p)) for p, q in ((a, b), (b, c), (c, a))]
            inside = (np.stack(sides) >= 0).all(axis=0) & (z > 0)
            nearest[row, column] = min(nearest[row, column], z[inside].min(initial=np.inf))
    expected = np.where(np.isfinite(nearest), nearest, 0)
    # A centre that lies on an edge to rounding may go either way.
    assert (np.abs(found.depth - expected) > 1e-5).mean() < 0.01


def test_ground_depth_is_that_of_the_plane_and_hides_what_is_below():
    scene = posed_scene(0, count=1, ground=True)
    below = scene.objects[0].pose.copy()
    below[2, 3] = -0.5
    hidden = Scene(scene.camera, [SceneObject(scene.objects[0].mesh, below, 1)], GREY, scene.ground)
    found = annotate(hidden)
    np.testing.assert_allclose(found.depth, 0.9, atol=1e-5)
    assert not found.label.any()
    assert len(found.class_indexes) == 0
    assert found.poses.shape == (0, 3, 4)


def test_clutter_hides_but_has_no_label_and_no_pose():
    scene = posed_scene(3, count=3, size=(32, 24))
    first = scene.objects[0]
    blocked = [SceneObject(first.mesh, first.pose, 0, first.material), *scene.objects[1:]]
    found = annotate(Scene(scene.camera, blocked, GREY))
    whole = annotate(scene)
    np.testing.assert_array_equal(found.depth, whole.depth)
    np.testing.assert_array_equal(found.instance, whole.instance)
    assert not found.label[found.instance == 1].any()
    assert first.class_index not in found.class_indexes


def test_ycb_video_camera_sees_the_same_rays_at_each_size():
    full, half = ycb_video_camera(640, 480), ycb_video_camera(320, 240)
    blocks = full.rays().reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half.rays(), blocks, atol=1e-12)


@pytest.mark.parametrize("class_index", range(1, len(CLASS_NAMES)))
def test_procedural_objects_are_sound(class_index):
    mesh = procedural_object(class_index)
    extent = mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)
    assert mesh.name == CLASS_NAMES[class_index]
    assert extent.min() > 0.01
    assert extent.max() < 0.3
    np.testing.assert_allclose(mesh.vertices.max(axis=0), -mesh.vertices.min(axis=0), atol=1e-12)
    assert mesh.faces.min() == 0
    assert mesh.faces.max() == len(mesh.vertices) - 1
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-9)
    other = procedural_object(class_index, variant=1)
    np.testing.assert_array_equal(mesh.vertices, other.vertices)
    assert (mesh.texture != other.texture).any()
    np.testing.assert_array_equal(mesh.texture, procedural_object(class_index).texture)


def test_objects_come_to_rest_on_the_table():
    pytest.importorskip("mujoco", reason="needs the extra scenes")
    meshes = [procedural_object(i) for i in (2, 5, 10, 14)]
    poses = settle(meshes, np.random.default_rng(0))
    lowest = [
        (mesh.vertices @ pose[:3, :3].T + pose[:3, 3])[:, 2].min() for mesh, pose in zip(meshes, poses, strict=True)
    ]
    assert min(lowest) > -0.004
    assert min(lowest) < 0.004
    again = settle(meshes, np.random.default_rng(0))
    np.testing.assert_array_equal(poses, again)
    for pose in poses:
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)


def test_colours_stand_where_the_labels_do():
    """A white object under even light before a black background: the picture is the label."""
    pytest.importorskip("mitsuba", reason="needs the extra scenes")
    mesh = procedural_object(2)
    white = type(mesh)("white", mesh.vertices, mesh.faces, mesh.normals, mesh.uv, np.full_like(mesh.texture, 250))
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [0.4, 0.3, 0.2]).as_matrix()
    pose[:3, 3] = [0.03, -0.02, 0.8]
    # Principal point and focal lengths far from the usual: each of them must reach the path tracer.
    camera = Camera(80, 60, np.array([[130.0, 0, 52.0], [0, 104.0, 21.0], [0, 0, 1]]))
    scene = Scene(camera, [SceneObject(white, pose, 2)], GREY * 4, background=np.zeros((60, 80, 3), np.uint8))
    frame = EmbeddedRenderer(16).render(scene, seed=0)
    bright = from_srgb(frame.color).mean(axis=-1)
    lit = np.quantile(bright[frame.label == 2], 0.5)
    covered = bright > lit / 2
    overlap = (covered & (frame.label == 2)).sum() / (covered | (frame.label == 2)).sum()
    assert (frame.label == 2).sum() > 300
    assert overlap > 0.97
    for axis in (0, 1):
        center = [np.mean(np.nonzero(mask)[axis]) for mask in (covered, frame.label == 2)]
        assert abs(center[0] - center[1]) < 0.1


def test_same_seed_same_frame_other_seed_other_noise_same_labels():
    pytest.importorskip("mitsuba", reason="needs the extra scenes")
    scene = posed_scene(5, ground=True)
    renderer = EmbeddedRenderer(1)
    first, again, other = (renderer.render(scene, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.color, again.color)
    assert (first.color != other.color).any()
    np.testing.assert_array_equal(first.label, other.label)
    np.testing.assert_array_equal(first.coordinates, other.coordinates)


@pytest.mark.parametrize("domain", [SYNTHETIC, TARGET], ids=["synthetic", "target"])
def test_tabletop_scenes_have_their_objects_and_the_cameras_of_a_video_share_a_table(domain):
    pytest.importorskip("mujoco", reason="needs the extra scenes")
    maker = SceneMaker(domain)

    def scene(view: int, turn: float) -> Scene:
        return maker.tabletop(np.random.default_rng(1), np.random.default_rng(view), SIZE, (3, 5), turn=turn)

    first, second = scene(0, 0.0), scene(1, 0.5)
    labelled = [item.class_index for item in first.objects if item.class_index]
    assert 3 <= len(labelled) == len(set(labelled)) <= 5
    clutter = len(first.objects) - len(labelled)
    assert domain.clutter[0] <= clutter <= domain.clutter[1]
    for a, b in zip(first.objects, second.objects, strict=True):
        np.testing.assert_array_equal(a.pose, b.pose)
        assert a.class_index == b.class_index
    assert np.abs(first.camera.pose - second.camera.pose).max() > 0.05
    assert first.camera.pose[2, 3] > 0.2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), class_index=st.integers(1, 21))
def test_single_object_is_seen_whole(seed, class_index):
    scene = SceneMaker(SYNTHETIC).single(np.random.default_rng(seed), ycb_video_camera(*SIZE), class_index)
    found = annotate(scene)
    assert set(np.unique(found.label)) == {0, class_index}
    border = np.concatenate([found.label[[0, -1]].ravel(), found.label[:, [0, -1]].ravel()])
    assert not border.any()


def test_posed_scene_keeps_the_poses():
    maker = SceneMaker(SYNTHETIC)
    pose = np.eye(4)[:3]
    pose[2, 3] = 0.7
    found = annotate(maker.posed(np.random.default_rng(0), ycb_video_camera(*SIZE), [3], pose[None]))
    np.testing.assert_allclose(found.poses, pose[None], atol=1e-12)
    with pytest.raises(ValueError, match=r"poses must have shape \(2, 3, 4\)"):
        maker.posed(np.random.default_rng(0), ycb_video_camera(*SIZE), [3, 4], pose[None])


def test_denoising_keeps_a_texture_and_removes_noise():
    scene = posed_scene(7, count=2, ground=True)
    fragments = rasterize(scene)
    guides = surface_guides(scene, fragments)
    rng = np.random.default_rng(0)
    guides = guides._replace(albedo=np.maximum(guides.albedo, 0.05))  # nothing darker is told from black
    clean = guides.albedo * 0.8
    noisy = (clean * rng.gamma(8, 1 / 8, clean.shape)).astype(np.float32)
    smooth = denoise(noisy, fragments, guides)
    before, after = np.abs(noisy - clean).mean(), np.abs(smooth - clean).mean()
    assert after < 0.5 * before
    np.testing.assert_allclose(denoise(clean, fragments, guides), clean, rtol=2e-2, atol=2e-2)


def test_develop_applies_each_effect():
    rng = np.random.default_rng(0)
    light = np.full((40, 50, 3), 0.3, np.float32)
    light[10:30, 20:40] = 0.6
    same = develop(light, Sensor(), rng)
    np.testing.assert_array_equal(same, (to_srgb(light) * 255 + 0.5).astype(np.uint8))
    assert (develop(light, Sensor(exposure=-1), rng)[0, 0] < same[0, 0]).all()
    warm = develop(light, Sensor(white_balance=(1.2, 1.0, 0.8)), rng)
    assert warm[0, 0, 0] > same[0, 0, 0] > warm[0, 0, 2]
    assert len(np.unique(develop(light, Sensor(blur=1.0), rng))) > 2
    fringe = develop(light, Sensor(aberration=0.1), rng)
    assert (fringe[..., 0] != fringe[..., 2]).any()
    assert (fringe[..., 1] == same[..., 1]).all()
    noisy = from_srgb(develop(light, Sensor(shot_noise=0.001, read_noise=0.01), rng))
    assert np.std(noisy[:8]) == pytest.approx(np.sqrt(0.001 * 0.3 + 0.01**2), rel=0.1)


def test_srgb_round_trip_and_exposure():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal((to_srgb(from_srgb(values)) * 255 + 0.5).astype(np.uint8), values)
    for albedo in (0.2, 0.6):
        colors = np.full((16, 3), albedo, np.float32)
        assert automatic_exposure(colors * 0.01, colors) * 0.01 == pytest.approx(0.8, rel=0.15)
    lamp = np.full((16, 3), 0.5, np.float32)
    lamp[:4] = 100
    assert automatic_exposure(lamp, np.full((16, 3), 0.5, np.float32)) * 100 == pytest.approx(1.6, rel=0.01)
    assert automatic_exposure(lamp[:0], lamp[:0]) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.exr", b""),
        ("a.exr", b"v/1\x01\2\0\0\0dataWindow\0box2i\0\x10\0\0\0" + struct.pack("<4i", 0, 0, 2**20, 2**20) + b"\0"),
        ("a.exr", b"v/1\x01\2\0\0\0generatedBy\0string\0" + struct.pack("<i", 2**31 - 1) + b"x"),
        ("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100000 +X 100000\n"),
        ("a.hdr", b"#?RADIANCE\n\n-Y 2 +X 2\n"),
        ("a.pfm", b"PF\n100000 100000\n-1.0\n"),
        ("a.pfm", b"PF\n1 1\n-1.0\n" + struct.pack("<3f", 1, 2, float("nan"))),
    ],
)
def test_damaged_light_is_named_before_memory_is_used_up(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: "):
        load_environment(tmp_path / name)


def test_environments_are_light_from_everywhere(tmp_path):
    for make in (studio_environment, room_environment):
        light = make(np.random.default_rng(0))
        assert light.shape[1] == 2 * light.shape[0]
        assert light.dtype == np.float32
        assert (light >= 0).all()
        assert light.max() > 2 * np.median(light)
    mitsuba = pytest.importorskip("mitsuba", reason="needs the extra scenes")
    mitsuba.set_variant("scalar_rgb")
    sky = np.random.default_rng(0).random((8, 16, 3), dtype=np.float32) * 5
    mitsuba.Bitmap(sky).write(str(tmp_path / "sky.exr"))
    read = load_environment(tmp_path / "sky.exr")
    np.testing.assert_allclose(read, sky / sky.mean(), rtol=2e-2)
    assert load_environment(tmp_path / "sky.exr", max_height=4).shape == (4, 8, 3)


def test_the_users_light_and_images_are_used(tmp_path):
    mitsuba = pytest.importorskip("mitsuba", reason="needs the extra scenes")
    mitsuba.set_variant("scalar_rgb")
    sky = np.full((8, 16, 3), 0.5, np.float32)
    sky[2, :4] = 7
    for folder in ("light", "images"):
        (tmp_path / folder).mkdir()
    mitsuba.Bitmap(sky).write(str(tmp_path / "light/sky.exr"))
    Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / "images/green.png")
    maker = SceneMaker(SYNTHETIC, environments=tmp_path / "light", backgrounds=tmp_path / "images")
    scene = maker.single(np.random.default_rng(0), ycb_video_camera(*SIZE), 1)
    assert (scene.background == [10, 200, 30]).all()
    np.testing.assert_allclose(np.sort(scene.environment.ravel()), np.sort((sky / sky.mean()).ravel()), rtol=2e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Camera(0, 4, np.eye(3)), "width and height"),
        (lambda: Camera(4, 4, np.eye(4)), r"intrinsics must have shape \(3, 3\)"),
        (lambda: Camera(4, 4, np.eye(3), 2 * np.eye(4)), "rigid"),
        (lambda: SceneObject(procedural_object(1), np.eye(3), 1), r"pose must have shape \(4, 4\)"),
        (lambda: SceneObject(procedural_object(1), np.eye(4), 256), "class_index"),
        (lambda: Scene(ycb_video_camera(4, 3), [], GREY, background=np.zeros((4, 3, 3), np.uint8)), "background"),
        (lambda: procedural_object(0), "class_index"),
        (lambda: procedural_object(22), "class_index"),
    ],
)
def test_wrong_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_renderer_input():
    pytest.importorskip("mitsuba", reason="needs the extra scenes")
    with pytest.raises(ValueError, match="samples_per_pixel"):
        EmbeddedRenderer(0)
    with pytest.raises(ValueError, match="variant"):
        EmbeddedRenderer(variant="crayon")


def test_folders_without_their_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="002_master_chef_can"):
        MeshLibrary(tmp_path)
    with pytest.raises(FileNotFoundError, match="exr"):
        SceneMaker(SYNTHETIC, environments=tmp_path)
    with pytest.raises(FileNotFoundError, match="no images"):
        SceneMaker(SYNTHETIC, backgrounds=tmp_path)

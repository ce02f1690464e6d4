"""Objects dropped onto a table come to rest (MuJoCo)."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from correspondence_losses.reference.scenes.requirements import require
from correspondence_losses.reference.scenes.scene import FloatArray, Mesh

__all__ = ["settle"]

_TIMESTEP = 0.004
_MAX_STEPS = 750
_CHECK_EVERY = 25
_AT_REST = 0.02
_HULL_VERTICES = 64
_ATTEMPTS = 8
_HALF_EXTENT = 0.2
"""Distance of the walls from the origin, metres."""
_UPRIGHT = 0.5
"""Probability that an object falls as its mesh stands."""


def settle(meshes: Sequence[Mesh], rng: np.random.Generator) -> list[FloatArray]:
    """Drop objects one above the other onto the plane z = 0 and let them come to rest.

    They collide as their convex hulls, and invisible walls keep them together. Half of them fall as their mesh stands,
    turned about z only.

    Args:
        meshes: The objects.
        rng: Where they fall, and how they are turned.

    Returns:
        A (4, 4) pose, object to world, for each of them.

    Raises:
        RuntimeError: They left the table in each of eight attempts.
    """
    for _ in range(_ATTEMPTS):
        poses = _drop(meshes, rng)
        corners = np.array([pose[:3, 3] for pose in poses]).reshape(-1, 3)
        inside = (np.abs(corners[:, :2]) < _HALF_EXTENT + 0.1) & (corners[:, 2:] > 0) & (corners[:, 2:] < 0.6)
        if inside.all():
            return poses
    names = ", ".join(mesh.name for mesh in meshes)
    raise RuntimeError(f"objects did not come to rest within {_HALF_EXTENT} m in {_ATTEMPTS} attempts: {names}")


def _drop(meshes: Sequence[Mesh], rng: np.random.Generator) -> list[FloatArray]:
    mujoco = require("mujoco")
    spec = mujoco.MjSpec()
    spec.option.timestep = _TIMESTEP
    # Friction against sliding, spinning and rolling: cans must not roll on for ever.
    contact = {"condim": 6, "friction": [0.8, 0.01, 0.004]}
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(type=plane, size=[1, 1, 0.1], **contact)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        inward = np.cross([0, 0, 1.0], [-x, -y, 0])
        quaternion = _scalar_first(Rotation.from_rotvec(inward * np.pi / 2))
        spec.worldbody.add_geom(
            type=plane, size=[1, 1, 0.1], pos=[x * _HALF_EXTENT, y * _HALF_EXTENT, 0], quat=quaternion, **contact
        )
    height = 0.0
    for index, mesh in enumerate(meshes):
        hull = mesh.vertices[ConvexHull(mesh.vertices).vertices]
        shape = spec.add_mesh(name=f"mesh_{index}")
        shape.uservert = hull.ravel().tolist()
        shape.maxhullvert = _HULL_VERTICES
        radius = float(np.linalg.norm(hull, axis=1).max())
        yaw = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
        turn = yaw if rng.random() < _UPRIGHT else Rotation.from_quat(rng.normal(size=4))
        reach = max(_HALF_EXTENT - radius, 0.0)
        position = [*rng.uniform(-reach, reach, 2).tolist(), height + radius + 0.005]
        height = position[2] + radius
        body = spec.worldbody.add_body(name=f"body_{index}", pos=position, quat=_scalar_first(turn))
        body.add_freejoint()
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"mesh_{index}", density=300.0, **contact)
    model = spec.compile()
    # A lone free body is damped by the air only; this stands in for the losses of a real impact.
    model.dof_damping[:] = 1e-4
    data = mujoco.MjData(model)
    for step in range(_MAX_STEPS):
        mujoco.mj_step(model, data)
        if step % _CHECK_EVERY == 0 and step > _MAX_STEPS // 3 and np.abs(data.qvel).max(initial=0) < _AT_REST:
            break
    poses = []
    for index in range(len(meshes)):
        pose = np.eye(4)
        pose[:3, :3] = data.body(f"body_{index}").xmat.reshape(3, 3)
        pose[:3, 3] = data.body(f"body_{index}").xpos
        poses.append(pose)
    return poses


def _scalar_first(rotation: Rotation) -> list[float]:
    x, y, z, w = rotation.as_quat().tolist()
    return [w, x, y, z]

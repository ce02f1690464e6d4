"""Rendered scenes: tabletop arrangements, counterparts of frames with known poses, and objects alone.

Needs the extra ``scenes`` (MuJoCo, Mitsuba and trimesh), each where it is used: ``pip install
'correspondence-losses[scenes]'``.
"""

from correspondence_losses.reference.scenes.arrange import SceneMaker
from correspondence_losses.reference.scenes.domains import SYNTHETIC, TARGET, Domain
from correspondence_losses.reference.scenes.embedded import EmbeddedRenderer
from correspondence_losses.reference.scenes.generate import (
    SceneSettings,
    generate_scenes,
    render_pairs,
    render_single_objects,
    scene_models,
)
from correspondence_losses.reference.scenes.meshes import MeshLibrary, load_mesh
from correspondence_losses.reference.scenes.objects import procedural_object
from correspondence_losses.reference.scenes.rasterize import Annotation, annotate
from correspondence_losses.reference.scenes.scene import (
    Camera,
    Frame,
    Ground,
    Material,
    Mesh,
    Renderer,
    Scene,
    SceneObject,
    Sensor,
    ycb_video_camera,
)
from correspondence_losses.reference.scenes.settle import settle
from correspondence_losses.reference.scenes.stillleben import StilllebenRenderer
from correspondence_losses.reference.scenes.writer import write_frame

__all__ = [
    "SYNTHETIC",
    "TARGET",
    "Annotation",
    "Camera",
    "Domain",
    "EmbeddedRenderer",
    "Frame",
    "Ground",
    "Material",
    "Mesh",
    "MeshLibrary",
    "Renderer",
    "Scene",
    "SceneMaker",
    "SceneObject",
    "SceneSettings",
    "Sensor",
    "StilllebenRenderer",
    "annotate",
    "generate_scenes",
    "load_mesh",
    "procedural_object",
    "render_pairs",
    "render_single_objects",
    "scene_models",
    "settle",
    "write_frame",
    "ycb_video_camera",
]

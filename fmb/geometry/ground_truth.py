"""Reference images of a mesh: silhouette, depth and colour, by pyrender (OpenGL) or by exact ray casting.

Both draw the same triangles from the same cameras and agree to a fraction of a pixel. OpenGL runs in a process of its
own: it starts while this one does other work, and a driver that crashes does no harm here.
"""

import io
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import NamedTuple

import numpy as np
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Bool, Float

from fmb.geometry import opengl
from fmb.geometry.cameras import Cameras
from fmb.geometry.frames import Frame
from fmb.geometry.views import Views

AUTO = "auto"
GREY = 0.75  # colour of a surface that has none
AMBIENT = 0.1  # share of the light that comes from everywhere; the rest comes from the camera
GAMMA = 2.2  # of colours in files and pictures; light is added up in linear values
CREASE_COSINE = 0.7  # edges sharper than about 45 degrees are not shaded smooth


class Triangles(NamedTuple):
    """Triangles as both backends draw them, in a frame where they lie in the unit ball."""

    position: Float[np.ndarray, "face 3 3"]
    normal: Float[np.ndarray, "face 3 3"]
    color: Float[np.ndarray, "face 3 3"]  # linear, not gamma-encoded


class BackendImages(NamedTuple):
    """What a backend returns: depth along the optical axis, NaN for background, and colour from 0 to 1."""

    depth: Float[np.ndarray, "view height width"]
    color: Float[np.ndarray, "view height width 3"]


class GroundTruth(NamedTuple):
    """Reference views, the backend that drew them, and one line that says why if it was not the first choice."""

    views: Views
    backend: str
    notice: str = ""


class GroundTruthJob(NamedTuple):
    """Images that are being drawn; `result` waits for them."""

    images: Callable[[], tuple[BackendImages, str, str]]
    cameras: Cameras
    scale: float

    def result(self) -> GroundTruth:
        """The finished views, depths in the unit of the mesh.

        Raises ValueError where the chosen backend cannot draw.
        """
        images, backend, notice = self.images()
        silhouette = np.isfinite(images.depth).astype(np.float32)
        views = Views(self.cameras, silhouette, self.scale * images.depth, None, images.color)
        return GroundTruth(views, backend, notice)


def start_ground_truth(
    mesh: trimesh.Trimesh, cameras: Cameras, image_size: tuple[int, int], backend: str = AUTO
) -> GroundTruthJob:
    """A job that draws views of `image_size` = (height, width); its `.result()` waits for them.

    The backend is one of BACKENDS or "auto", which takes pyrender and, where OpenGL does not work, ray casting with a
    notice.

    Raises ValueError for an unknown backend or an empty image.
    """
    if backend not in (AUTO, *BACKENDS):
        raise ValueError(f"ground-truth backend '{backend}': allowed are {AUTO}, {', '.join(BACKENDS)}")
    if min(image_size) < 1:
        raise ValueError(f"image of {image_size[1]} x {image_size[0]} pixels: both sides must be at least 1")
    cameras = Cameras(*(np.asarray(field, float) for field in cameras))
    frame = _unit_ball(mesh)
    request = (_surface(mesh, frame), frame.cameras_to_canonical(cameras), image_size)
    draw = BACKENDS["pyrender" if backend == AUTO else backend](*request)

    def images() -> tuple[BackendImages, str, str]:
        if backend != AUTO:
            return draw(), backend, ""
        try:
            return draw(), "pyrender", ""
        except ValueError as error:
            return BACKENDS["raycast"](*request)(), "raycast", f"{error}; ray casting instead"

    return GroundTruthJob(images, cameras, float(frame.scale))


def render_ground_truth(
    mesh: trimesh.Trimesh, cameras: Cameras, image_size: tuple[int, int], backend: str = AUTO
) -> GroundTruth:
    """Silhouette, depth (in the unit of the mesh) and colour of a mesh in each view; see `start_ground_truth`."""
    return start_ground_truth(mesh, cameras, image_size, backend).result()


def cast_silhouettes(
    mesh: trimesh.Trimesh, cameras: Cameras, image_size: tuple[int, int]
) -> Float[np.ndarray, "view height width"]:
    """The silhouettes alone of a mesh, those of "raycast": half the time."""
    frame = _unit_ball(mesh)
    cameras = frame.cameras_to_canonical(Cameras(*(np.asarray(field, float) for field in cameras)))
    scene = _embree_scene(frame.to_canonical(np.asarray(mesh.vertices, float)), np.asarray(mesh.faces))
    seen = [_first_faces(scene, *_view_rays(*camera, image_size)) >= 0 for camera in zip(*cameras, strict=True)]
    return np.stack(seen).reshape(-1, *image_size).astype(np.float32)


def visible_points(
    mesh: trimesh.Trimesh, points: Float[np.ndarray, "point 3"], cameras: Cameras, behind: float = 0.01
) -> Bool[np.ndarray, "view point"]:
    """Whether each camera sees each point: no triangle before it, by more than the share `behind` of its distance."""
    frame = _unit_ball(mesh)
    cameras = frame.cameras_to_canonical(Cameras(*(np.asarray(field, float) for field in cameras)))
    vertices, faces = frame.to_canonical(np.asarray(mesh.vertices, float)), np.asarray(mesh.faces)
    points, scene, seen = frame.to_canonical(points), _embree_scene(vertices, faces), []
    for pose in cameras.world_from_camera:
        origin, direction = np.broadcast_to(pose[:3, 3], points.shape), points - pose[:3, 3]
        face = _first_faces(scene, origin, direction)
        share = _plane_hit(vertices[faces[face]], origin, direction)[0]  # 1 at the point itself
        seen.append((face < 0) | (share >= 1.0 - behind))
    return np.stack(seen)


def cast_rays(surface: Triangles, cameras: Cameras, image_size: tuple[int, int]) -> Callable[[], BackendImages]:
    """A function that draws: the first hits of the rays through the pixel centres, by Embree, without OpenGL."""

    def draw() -> BackendImages:
        corners = surface.position.reshape(-1, 3)
        scene = _embree_scene(corners, np.arange(len(corners)).reshape(-1, 3))
        views = [_cast_view(scene, surface, pose, matrix, image_size) for pose, matrix in zip(*cameras, strict=True)]
        return BackendImages(*(np.stack(field) for field in zip(*views, strict=True)))

    return draw


def start_pyrender(surface: Triangles, cameras: Cameras, image_size: tuple[int, int]) -> Callable[[], BackendImages]:
    """Starts pyrender in a process of its own: with EGL, then OSMesa, or with $PYOPENGL_PLATFORM alone.

    The function that comes back waits for the images. It raises ValueError, one line, where there is no OpenGL.
    """
    centre_depth = -np.einsum("vi,vi->v", cameras.world_from_camera[:, :3, 3], cameras.world_from_camera[:, :3, 2])
    near = np.maximum(centre_depth - 1.001, 1e-3)  # the object fills the unit ball around the origin
    request = io.BytesIO()
    np.savez(
        request,
        **{field: value.astype(np.float32) for field, value in surface._asdict().items()},
        **cameras._asdict(),
        near=near,
        far=np.maximum(centre_depth + 1.001, 2.0 * near),
        image_size=image_size,
        ambient=AMBIENT,
        headlight=(1.0 - AMBIENT) * np.pi,  # a white surface that faces the light reflects 1 / pi of it
    )
    reply: Future[bytes] = Future()

    def work() -> None:
        try:
            reply.set_result(opengl.ask(request.getvalue(), len(near)))
        except (ValueError, OSError) as error:
            reply.set_exception(error)
        finally:
            reply.cancel()  # whatever else happens, nobody waits for ever

    # a thread only feeds and drains the pipes, so neither process waits for the other, nor does the end of this one
    Thread(target=work, daemon=True).start()
    return lambda: _read_reply(reply)


BACKENDS: dict[str, Callable[[Triangles, Cameras, tuple[int, int]], Callable[[], BackendImages]]] = {
    "pyrender": start_pyrender,
    "raycast": cast_rays,
}


def _unit_ball(mesh: trimesh.Trimesh) -> Frame:
    lower, upper = mesh.triangles.min(axis=(0, 1)), mesh.triangles.max(axis=(0, 1))
    return Frame(0.5 * (lower + upper), np.asarray(0.5 * np.linalg.norm(upper - lower)))


def _surface(mesh: trimesh.Trimesh, frame: Frame) -> Triangles:
    position = frame.to_canonical(np.asarray(mesh.triangles, float))
    across = np.cross(position[:, 1] - position[:, 0], position[:, 2] - position[:, 0])
    at_vertex = np.zeros((len(mesh.vertices), 3))
    np.add.at(at_vertex, np.asarray(mesh.faces), across[:, None, :])  # weighted by area
    flat = np.broadcast_to(_unit(across)[:, None, :], position.shape)
    smooth = _unit(at_vertex)[mesh.faces]
    crease = np.sum(flat * smooth, axis=-1, keepdims=True) < CREASE_COSINE
    if mesh.visual.kind == "vertex":
        color = mesh.visual.vertex_colors[mesh.faces, :3] / 255.0
    elif mesh.visual.kind == "face":
        color = np.repeat(mesh.visual.face_colors[:, None, :3] / 255.0, 3, axis=1)
    else:
        color = np.full(position.shape, GREY)
    return Triangles(position, np.where(crease, flat, smooth), color**GAMMA)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0.0, length, 1.0)


def _embree_scene(vertices: np.ndarray, faces: np.ndarray) -> EmbreeScene:
    scene = EmbreeScene(robust=True)  # robust: no ray passes between two triangles with a common edge
    TriangleMesh(scene, vertices.astype(np.float32), faces.astype(np.int32))
    return scene


def _view_rays(pose: np.ndarray, intrinsics: np.ndarray, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions [ray, 3] through the pixel centres, in float64."""
    height, width = image_size
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixel = np.stack([column, row, np.ones_like(row)], axis=-1)
    direction = pixel.reshape(-1, 3) @ np.linalg.inv(intrinsics).T @ pose[:3, :3].T
    return np.broadcast_to(pose[:3, 3], direction.shape), direction


def _first_faces(scene: EmbreeScene, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Index of the first face that each ray meets, -1 for none."""
    return scene.run(origin.astype(np.float32), direction.astype(np.float32))


def _cast_view(
    scene: EmbreeScene, surface: Triangles, pose: np.ndarray, intrinsics: np.ndarray, image_size: tuple[int, int]
) -> BackendImages:
    origin, direction = _view_rays(pose, intrinsics, image_size)
    face = _first_faces(scene, origin, direction)
    hit = face >= 0
    depth, weight = _plane_hit(surface.position[face[hit]], origin[hit], direction[hit])
    normal = _unit(np.einsum("rc,rci->ri", weight, surface.normal[face[hit]]))
    facing = np.abs(np.sum(normal * _unit(direction[hit]), axis=-1, keepdims=True))
    shade = AMBIENT + (1.0 - AMBIENT) * facing
    images = BackendImages(np.full(len(direction), np.nan), np.ones((len(direction), 3), np.float32))
    images.depth[hit] = depth
    light = shade * np.einsum("rc,rci->ri", weight, surface.color[face[hit]])
    images.color[hit] = np.clip(light, 0.0, 1.0) ** (1.0 / GAMMA)
    return BackendImages(images.depth.reshape(image_size), images.color.reshape(*image_size, 3))


def _plane_hit(corner: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameter and weights of the corners in float64; Embree (float32) only tells which triangle is hit."""
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    offset = origin - corner[:, 0]
    across, turned = np.cross(first, second), np.cross(direction, offset)
    height = -np.sum(direction * across, axis=-1)
    height = np.where(height == 0.0, np.finfo(float).tiny, height)
    weight_second = -np.sum(second * turned, axis=-1) / height
    weight_third = np.sum(first * turned, axis=-1) / height
    weight = np.stack([1.0 - weight_second - weight_third, weight_second, weight_third], axis=-1)
    return np.sum(offset * across, axis=-1) / height, weight


def _read_reply(reply: Future) -> BackendImages:
    with np.load(io.BytesIO(reply.result())) as arrays:
        return BackendImages(arrays["depth"].astype(float), arrays["color"].astype(np.float32) / 255.0)

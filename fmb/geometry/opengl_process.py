"""Draws views of a mesh with pyrender; `fmb.geometry.opengl` runs this as a program in its own process.

It reads arrays (.npz) from standard input and writes arrays to standard output. To start quickly it imports nothing of
this project, and of pyrender only what draws. PYOPENGL_PLATFORM must be set.
"""

import ctypes
import gc
import importlib.util
import io
import os
import signal
import sys
import types

import numpy as np

PARENT_DEATH_SIGNAL = 1  # of Linux's prctl
CAMERA_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL looks along -z, with y up


def main() -> None:
    """Answers one request."""
    end_with_parent()
    gc.disable()  # it ends soon, and what it imports stays
    reply_file = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the reply must not contain what libraries print
    import_bare("trimesh")
    import_bare("pyrender")
    # what takes longest, while the request is still to come
    from pyrender import offscreen, primitive, scene  # noqa: F401

    request = np.load(io.BytesIO(sys.stdin.buffer.read()))
    depth, color = draw({field: request[field] for field in request.files})
    reply = io.BytesIO()
    np.savez(reply, depth=depth, color=color)
    reply_file.write(reply.getvalue())
    reply_file.close()


def end_with_parent() -> None:
    """Has the system end this process once the one that started it has ended; on Linux, elsewhere it ends by itself."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, int(signal.SIGKILL))


def import_bare(package: str) -> None:
    """Makes the modules of a package importable without running its __init__.

    That of pyrender imports a window toolkit and that of trimesh all of SciPy, more than half of the start-up.
    """
    module = types.ModuleType(package)
    module.__path__ = list(importlib.util.find_spec(package).submodule_search_locations)
    sys.modules[package] = module


def draw(request: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Depth [view, height, width], NaN for background, and colour [view, height, width, 3] in 0..255."""
    from pyrender import renderer as pyrender_renderer
    from pyrender.constants import RenderFlags
    from pyrender.light import DirectionalLight
    from pyrender.offscreen import OffscreenRenderer
    from pyrender.scene import Scene

    # With four samples per pixel the depth would be that of sample 0, which is not at the pixel's centre.
    pyrender_renderer.glRenderbufferStorageMultisample = lambda target, _samples, layout, width, height: (
        pyrender_renderer.glRenderbufferStorage(target, layout, width, height)
    )
    height, width = (int(side) for side in request["image_size"])
    scene = Scene(bg_color=np.ones(4), ambient_light=np.full(3, float(request["ambient"])))
    scene.add(two_sided_mesh(request))
    light = scene.add(DirectionalLight(color=np.ones(3), intensity=float(request["headlight"])))
    node = scene.add(exact_camera(), pose=np.eye(4))
    renderer = OffscreenRenderer(width, height)
    try:
        images = []
        for view, pose in enumerate(request["world_from_camera"]):
            node.camera.set(request["intrinsics"][view], request["near"][view], request["far"][view])
            scene.set_pose(node, pose @ CAMERA_FROM_OPENGL)
            scene.set_pose(light, pose @ CAMERA_FROM_OPENGL)
            images.append(renderer.render(scene, flags=RenderFlags.NONE))
    finally:
        renderer.delete()
    color, depth = (np.stack(field) for field in zip(*images, strict=True))
    return np.where(depth > 0.0, depth, np.nan), color


def two_sided_mesh(request: dict[str, np.ndarray]):
    """All triangles and their backs: the side that faces the camera is drawn, with a normal that faces it."""
    from pyrender.constants import GLTF
    from pyrender.material import MetallicRoughnessMaterial
    from pyrender.mesh import Mesh
    from pyrender.primitive import Primitive

    def both(field: np.ndarray, sign: float) -> np.ndarray:
        return np.concatenate([field, sign * field[:, ::-1]]).reshape(-1, 3)

    opaque = np.ones((2 * request["color"].shape[0] * 3, 1), np.float32)
    primitive = Primitive(
        positions=both(request["position"], 1.0),
        normals=both(request["normal"], -1.0),
        color_0=np.concatenate([both(request["color"], 1.0), opaque], axis=1),
        material=MetallicRoughnessMaterial(metallicFactor=0.0, roughnessFactor=1.0),
        mode=GLTF.TRIANGLES,
    )
    return Mesh([primitive])


def exact_camera():
    """A pyrender camera with any intrinsics, the centre of pixel (0, 0) at (0.5, 0.5)."""
    from pyrender.camera import Camera

    class ExactCamera(Camera):
        def set(self, intrinsics: np.ndarray, near: float, far: float) -> None:
            self.intrinsics, self.znear, self.zfar = intrinsics, near, far

        def get_projection_matrix(self, width: int, height: int) -> np.ndarray:
            # clip = (2 u / width - w, w - 2 v / height, .., w) for a pixel (u, v) at depth w
            clip_from_pixel = np.array([[2.0 / width, 0.0, -1.0], [0.0, -2.0 / height, 1.0], [0.0, 0.0, 1.0]])
            projection = np.zeros((4, 4))
            projection[[0, 1, 3], :3] = clip_from_pixel @ self.intrinsics @ CAMERA_FROM_OPENGL[:3, :3]
            near, far = self.znear, self.zfar
            projection[2, 2:] = (far + near) / (near - far), 2.0 * far * near / (near - far)
            return projection

    return ExactCamera()


if __name__ == "__main__":
    main()

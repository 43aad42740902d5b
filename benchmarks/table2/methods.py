"""The methods of table 2: each is prepared once for a model, then turns an image and a start into a pose."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.table2.icp import back_projected, icp, icp_target
from benchmarks.table2.scenes import MIXTURE_SOURCES, Cloud, Settings, mixture, sampled
from benchmarks.table3.runs import canonical
from fm_render import Mixture
from fmb.fields.metaballs import decimate
from fmb.pose.estimate import PoseProgram, compile_pose, estimate_pose
from fmb.pose.observation import Observation
from fmb.pose.simulation import Exposure
from fmb.pose.stages import PoseOptions
from fmb.shape.supervision import DEPTH_SETTINGS

FEW, MANY = 470, 40_000  # points: as exact as 40 components, says section 6, and a hundred times as many


class Model(NamedTuple):
    """What there is to know of the object; nothing else of it reaches a method."""

    mesh: Path
    settings: Settings
    cache: Path  # folder where mixtures are kept

    def mixture(self, kind: str) -> Mixture:
        """Of the mesh, canonical, fitted as the kind says."""
        return mixture(self.mesh, self.settings.components, self.cache, kind)


class Estimate(NamedTuple):
    """The pose found, after how many steps, and whether the method itself thinks that it is right (None: no idea)."""

    camera_from_object: Float[np.ndarray, "4 4"]
    iterations: int
    claimed: bool | None = None


Solve = Callable[[Exposure, np.ndarray], Estimate]  # (image, start as the object's pose in the camera)


class Method(NamedTuple):
    """`prepare(model)` compiles; `numbers` describe the object; a change of `sources` makes old results void.

    `package`: what it needs beside our own environment; where that is missing the method is skipped.
    """

    prepare: Callable[[Model], Solve]
    numbers: int
    sources: tuple[str, ...]
    package: str = ""


def prepare_start(model: Model) -> Solve:
    """No method: where all begin."""
    return lambda exposure, start: Estimate(start, 0)


@lru_cache(maxsize=8)
def compiled_pose(components: int, size: tuple[int, int], options: PoseOptions) -> PoseProgram:
    """The search for any model of so many components in images of (height, width)."""
    shapes = ((components, 3), (components, 3, 3), (components,))
    return compile_pose(Mixture(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)), size, options)


def prepare_metaballs(model: Model, options: PoseOptions = PoseOptions(), kind: str = "silhouettes") -> Solve:
    """Our own search, and the paper's recipe with our renderer."""
    settings, mixture = model.settings, model.mixture(kind)
    program = compiled_pose(settings.components, (settings.height, settings.width), options)

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        observation = Observation(exposure.intrinsics, exposure.depth, exposure.silhouette)
        found = estimate_pose(program, mixture, observation, np.linalg.inv(start), exposure.scale)
        return Estimate(np.linalg.inv(found.world_from_camera), found.iterations, found.success)

    return solve


def model_points(model: Model, count: int, vertices: int = 0) -> Cloud:
    """Points and normals of the model's surface, or of one decimated to about so many vertices."""
    mesh = canonical(model.mesh)
    return sampled(decimate(mesh, faces_of(vertices)) if vertices else mesh, count)


def faces_of(vertices: int) -> int:
    """Faces of a closed surface without holes (Euler)."""
    return 2 * vertices - 4


def prepare_icp(model: Model, rule: str, count: int, vertices: int = 0) -> Solve:
    """Iterative closest points: what was measured onto `count` points of the surface, or of one with few vertices."""
    target = icp_target(*model_points(model, count, vertices))

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        seen = back_projected(exposure.depth, exposure.intrinsics)
        found = icp(seen, target, np.linalg.inv(start), rule)
        return Estimate(np.linalg.inv(found.target_from_source), found.iterations, found.success)

    return solve


POSE_SOURCES = (
    "fm_render.py",
    "fmb/pose/estimate.py",
    "fmb/pose/first_order.py",
    "fmb/pose/options.py",
    "fmb/pose/first_order.py",
    "fmb/pose/covariance.py",
    "fmb/pose/observation.py",
    "fmb/pose/residuals.py",
    "fmb/pose/search.py",
    *MIXTURE_SOURCES,
)
ICP_SOURCES = ("benchmarks/table2/icp.py", "benchmarks/table2/methods.py")
START, OURS, RECIPE = "start", "fuzzy metaballs", "the paper's recipe"
RELEASED = PoseOptions(method="first_order", starts=0, settings=DEPTH_SETTINGS)


def points_method(rule: str, count: int) -> tuple[str, Method]:
    """ICP with so many points of the surface, and its name."""
    method = Method(partial(prepare_icp, rule=rule, count=count), 3 * count, ICP_SOURCES)
    return f"ICP, {rule}, {count:,} points", method


def mesh_method(rule: str, vertices: int) -> tuple[str, Method]:
    """ICP with MANY points of a decimated mesh, whose numbers are those of its vertices and faces, and its name."""
    prepare = partial(prepare_icp, rule=rule, count=MANY, vertices=vertices)
    method = Method(prepare, 3 * (vertices + faces_of(vertices)), (*ICP_SOURCES, "fmb/fields/metaballs.py"))
    return f"ICP, {rule}, mesh of {vertices} vertices", method


OWN: dict[str, Method] = {  # of the table
    OURS: Method(prepare_metaballs, 400, POSE_SOURCES),
    RECIPE: Method(partial(prepare_metaballs, options=RELEASED, kind="depths"), 400, POSE_SOURCES),
    START: Method(prepare_start, 0, ()),
    **dict(points_method(rule, count) for count in (FEW, MANY) for rule in ("plane", "point")),
}
FIDELITY: dict[str, dict[str, Method]] = {  # of the curves: for each kind of object, from coarse to fine
    **{
        f"points, ICP {rule}": dict(points_method(rule, count) for count in (47, 118, 235, FEW, 940, 1880, 4700, MANY))
        for rule in ("plane", "point")
    },
    **{
        f"mesh, ICP {rule}": dict(mesh_method(rule, vertices) for vertices in (10, 20, 40, 85, 170, 340, 680))
        for rule in ("plane", "point")
    },
}
COMPONENTS = (5, 10, 20, 40, 80, 160, 320, 640)  # of the curve of fuzzy metaballs

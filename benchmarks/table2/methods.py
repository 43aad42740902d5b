"""The methods of table 2: each is prepared once for a model, then turns an image and a start into a pose."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.study import canonical
from benchmarks.table2.scenes import MIXTURE_SOURCES, Cloud, Settings, mixture, sampled
from fm_render import Mixture
from fmb.fields.metaballs import decimate
from fmb.pose.estimate import PoseProgram, compile_pose, find_pose
from fmb.pose.observation import Observation
from fmb.pose.options import PoseOptions
from fmb.pose.simulation import Exposure
from fmb.shape.supervision import DEPTH_SETTINGS

FEW, MANY = 470, 40_000  # points: as exact as 40 components, says section 6, and a hundred times as many
FURTHEST = 1.0  # scales; pairs further apart do not count in others' ICP
MOST_STEPS = 100  # of others' ICP; all else is theirs
NEIGHBOURS = 20  # from which small_gicp estimates a point's normal and covariance


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
    mixture = Mixture(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    return compile_pose(mixture, size, options, DEPTH_SETTINGS)  # which the paper's recipe alone reads


def prepare_metaballs(model: Model, options: PoseOptions = PoseOptions(), kind: str = "silhouettes") -> Solve:
    """Our own search, and the paper's recipe with our renderer."""
    settings, mixture = model.settings, model.mixture(kind)
    program = compiled_pose(settings.components, (settings.height, settings.width), options)

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        observation = Observation(exposure.intrinsics, exposure.depth, exposure.silhouette)
        found = find_pose(program, mixture, observation, np.linalg.inv(start), exposure.scale)
        return Estimate(np.linalg.inv(found.world_from_camera), found.iterations, found.success)

    return solve


def model_points(model: Model, count: int, vertices: int = 0) -> Cloud:
    """Points and normals of the model's surface, or of one decimated to about so many vertices."""
    mesh = canonical(model.mesh)
    return sampled(decimate(mesh, faces_of(vertices)) if vertices else mesh, count)


def faces_of(vertices: int) -> int:
    """Faces of a closed surface without holes (Euler)."""
    return 2 * vertices - 4


def prepare_open3d(model: Model, rule: str, count: int, vertices: int = 0) -> Solve:
    """Open3D's ICP of what was measured onto `count` points of the surface, or of one with few vertices."""
    from open3d import geometry, utility
    from open3d.pipelines import registration

    points, normal = model_points(model, count, vertices)
    target = geometry.PointCloud(utility.Vector3dVector(points))
    target.normals = utility.Vector3dVector(normal)
    estimation = getattr(registration, f"TransformationEstimationPointTo{rule.capitalize()}")()
    end = registration.ICPConvergenceCriteria(max_iteration=MOST_STEPS)

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        source = geometry.PointCloud(utility.Vector3dVector(back_projected(exposure.depth, exposure.intrinsics)))
        found = registration.registration_icp(source, target, FURTHEST, np.linalg.inv(start), estimation, end)
        return Estimate(np.linalg.inv(found.transformation), 0)  # it does not tell its steps

    return solve


def prepare_small_gicp(model: Model, rule: str, count: int) -> Solve:
    """small_gicp's registration by one of its rules, onto `count` points of the surface."""
    import small_gicp

    def cloud(points: np.ndarray) -> tuple:
        found = small_gicp.PointCloud(points)
        tree = small_gicp.KdTree(found)
        small_gicp.estimate_normals_covariances(found, tree, NEIGHBOURS)
        return found, tree

    target, tree = cloud(model_points(model, count)[0])
    options = {"registration_type": rule, "max_correspondence_distance": FURTHEST, "max_iterations": MOST_STEPS}

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        source, _ = cloud(back_projected(exposure.depth, exposure.intrinsics))
        found = small_gicp.align(target, source, tree, np.linalg.inv(start), **options)
        return Estimate(np.linalg.inv(found.T_target_source), int(found.iterations))

    return solve


def back_projected(
    depth: Float[np.ndarray, "height width"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "measured 3"]:
    """Points in the camera's axes of all pixels that measured a depth; NaN and 0 did not."""
    row, column = np.nonzero(np.nan_to_num(depth) > 0.0)
    pixel = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], axis=-1)
    return pixel @ np.linalg.inv(intrinsics).T * depth[row, column, None]


POSE_SOURCES = (
    "fm_render.py",
    "fmb/pose/estimate.py",
    "fmb/pose/first_order.py",
    "fmb/pose/options.py",
    "fmb/pose/stages.py",
    "fmb/pose/covariance.py",
    "fmb/pose/observation.py",
    "fmb/pose/residuals.py",
    "fmb/pose/search.py",
    *MIXTURE_SOURCES,
)
ICP_SOURCES = ("benchmarks/table2/methods.py",)
START, OURS, RECIPE = "start", "fuzzy metaballs", "the paper's recipe"
RELEASED = PoseOptions(method="first_order", num_starts=0)


def points_method(rule: str, count: int) -> tuple[str, Method]:
    """Open3D's ICP with so many points of the surface, and its name."""
    prepare = partial(prepare_open3d, rule=rule, count=count)
    return f"Open3D ICP, {rule}, {count:,} points", Method(prepare, 3 * count, ICP_SOURCES, "open3d")


def mesh_method(rule: str, vertices: int) -> tuple[str, Method]:
    """The same with MANY points of a decimated mesh, whose numbers are those of its vertices and faces."""
    prepare = partial(prepare_open3d, rule=rule, count=MANY, vertices=vertices)
    sources = (*ICP_SOURCES, "fmb/fields/metaballs.py")
    method = Method(prepare, 3 * (vertices + faces_of(vertices)), sources, "open3d")
    return f"Open3D ICP, {rule}, mesh of {vertices} vertices", method


METHODS: dict[str, Method] = {  # of the table
    OURS: Method(prepare_metaballs, 400, POSE_SOURCES),
    RECIPE: Method(partial(prepare_metaballs, options=RELEASED, kind="depths"), 400, POSE_SOURCES),
    START: Method(prepare_start, 0, ()),
    **dict(points_method(rule, count) for count in (FEW, MANY) for rule in ("plane", "point")),
    **{
        f"small_gicp, {rule}, {MANY:,} points": Method(
            partial(prepare_small_gicp, rule=rule, count=MANY), 3 * MANY, ICP_SOURCES, "small_gicp"
        )
        for rule in ("PLANE_ICP", "GICP")
    },
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
KNOWN: dict[str, Method] = {**METHODS, **{name: method for kind in FIDELITY.values() for name, method in kind.items()}}
COMPONENTS = (5, 10, 20, 40, 80, 160, 320, 640)  # of the curve of fuzzy metaballs

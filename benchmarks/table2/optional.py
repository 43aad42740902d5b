"""Methods of table 2 from other people's packages: Open3D's ICP and small_gicp's GICP, both as they come.

Neither package is in this project's environment; where one is missing, its methods are skipped and named. They were
run with Open3D 0.20 and small_gicp 1.0. Pairs further apart than a scale do not count, all other numbers are theirs.
"""

from functools import partial

import numpy as np

from benchmarks.table2.icp import back_projected
from benchmarks.table2.methods import MANY, Estimate, Method, Model, Solve, model_points
from fmb.pose.simulation import Exposure

FURTHEST = 1.0  # scales
NEIGHBOURS = 20  # from which small_gicp estimates a point's covariance


def prepare_open3d(model: Model, rule: str, count: int) -> Solve:
    """Open3D's ICP, which ends after 30 steps, the paper's baseline as far as it tells."""
    from open3d import geometry, utility
    from open3d.pipelines import registration

    points, normal = model_points(model, count)
    target = geometry.PointCloud(utility.Vector3dVector(points))
    target.normals = utility.Vector3dVector(normal)
    estimation = getattr(registration, f"TransformationEstimationPointTo{rule.capitalize()}")()

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        source = geometry.PointCloud(utility.Vector3dVector(back_projected(exposure.depth, exposure.intrinsics)))
        found = registration.registration_icp(source, target, FURTHEST, np.linalg.inv(start), estimation)
        return Estimate(np.linalg.inv(found.transformation), 0)

    return solve


def prepare_gicp(model: Model, count: int) -> Solve:
    """Generalised ICP, planes of both clouds."""
    import small_gicp

    target = small_gicp.PointCloud(model_points(model, count)[0])
    tree = small_gicp.KdTree(target)
    small_gicp.estimate_covariances(target, tree, NEIGHBOURS)

    def solve(exposure: Exposure, start: np.ndarray) -> Estimate:
        source = small_gicp.PointCloud(back_projected(exposure.depth, exposure.intrinsics))
        small_gicp.estimate_covariances(source, small_gicp.KdTree(source), NEIGHBOURS)
        found = small_gicp.align(
            target, source, tree, np.linalg.inv(start), max_correspondence_distance=FURTHEST, max_iterations=100
        )
        return Estimate(np.linalg.inv(found.T_target_source), int(found.iterations))

    return solve


_SOURCES = ("benchmarks/table2/optional.py", "benchmarks/table2/methods.py", "benchmarks/table2/icp.py")
OPTIONAL: dict[str, Method] = {
    **{
        f"Open3D ICP, {rule}, {MANY:,} points": Method(
            partial(prepare_open3d, rule=rule, count=MANY), 3 * MANY, _SOURCES, "open3d"
        )
        for rule in ("plane", "point")
    },
    f"small_gicp, {MANY:,} points": Method(partial(prepare_gicp, count=MANY), 3 * MANY, _SOURCES, "small_gicp"),
}

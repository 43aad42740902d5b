"""The clouds of the table: samples of meshes with noise, and scans whose true surface is known."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.sample import sample_surface

from fmb.files.clouds import read_cloud
from fmb.files.meshes import read_mesh
from fmb.geometry.frames import box_frame

NOISES = {"none": 0.0, "medium": 0.01, "strong": 0.05}  # standard deviations, in longest sides
TRUTH = "_gt"  # a scan NAME_gt.ply or .obj beside NAME*.npy or .xyz is its true surface


class Case(NamedTuple):
    """A cloud: samples of a mesh with noise of that name or, where `scan` is given, the points of a file."""

    mesh: Path
    noise: str
    scan: Path | None = None

    @property
    def name(self) -> str:
        """Of the row in the table."""
        return self.mesh.stem.removesuffix(TRUTH).removesuffix("_hi") + ("" if self.scan else f", {self.noise}")


class Given(NamedTuple):
    """Points and the true surface, both normalised by the box of the points."""

    points: Float[np.ndarray, "point 3"]
    truth: trimesh.Trimesh


@lru_cache(maxsize=2)
def given(case: Case, count: int, seed: int) -> Given:
    """The cloud of a case: `count` points, each with noise of its own in all three directions; a scan as it is."""
    truth = read_mesh(case.mesh)
    if case.scan:
        points = read_cloud(case.scan, count, np.random.default_rng(seed)).point
    else:
        points = np.asarray(sample_surface(truth, count, seed=seed)[0])
        deviation = NOISES[case.noise] * float(np.ptp(truth.bounds, axis=0).max())
        points = points + deviation * np.random.default_rng(seed).normal(size=points.shape)
    frame = box_frame(points)
    return Given(frame.to_canonical(points), frame.mesh_to_canonical(truth))


def scans(folder: Path) -> list[Case]:
    """The scans in a folder whose true surface lies beside them."""
    found = []
    for truth in sorted(folder.glob(f"*{TRUTH}.*")):
        name = truth.stem.removesuffix(TRUTH)
        own = [path for path in sorted(folder.glob(f"{name}*")) if path.suffix in (".npy", ".xyz")]
        found += [Case(truth, "none", path) for path in own[:1]]
    return found

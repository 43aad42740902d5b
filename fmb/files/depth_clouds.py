"""The points that a depth image shows, in the frame of its camera."""

import numpy as np

from fmb.fields.points import Cloud
from fmb.files.poses import ObservationFiles, read_observation
from fmb.geometry.cameras import Cameras, pixel_rays


def read_depth_cloud(files: ObservationFiles, count: int, generator: np.random.Generator) -> Cloud:
    """At most `count` points, of pixels with a depth that the mask, if there is one, shows; x right, y down, z ahead.

    Raises ValueError as `read_observation`, and where no pixel has a depth.
    """
    found = read_observation(files)
    depth = np.asarray(found.depth, float)
    known = np.isfinite(depth) & (depth > 0.0)
    for part in (found.valid, None if found.silhouette is None else found.silhouette > 0.5):
        known &= np.ones_like(known) if part is None else np.asarray(part, bool)
    if not known.any():
        raise ValueError(f"{files.depth}: no pixel of the object has a depth")
    rays = pixel_rays(Cameras(np.eye(4)[None], np.asarray(found.intrinsics, float)[None]), *depth.shape)
    points = np.asarray(rays.origin + depth[None, ..., None] * rays.direction)[0][known]
    if len(points) > count:
        points = points[generator.choice(len(points), count, replace=False)]
    return Cloud(points.astype(float))

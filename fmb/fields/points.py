"""Points of a mixture: in its volume, with its own density, or on its surface, as cameras see it."""

import jax
import numpy as np
from jaxtyping import Float

from fm_render import Mixture, Rendering, render_views
from fmb.fields.mixtures import sample_mixture
from fmb.geometry.cameras import ANY_ARRAY, Cameras, pixel_rays
from fmb.geometry.cloud import Cloud as Cloud
from fmb.geometry.frames import Frame
from fmb.ready import ready

SURFACE_ALPHA = 0.9  # above it a pixel shows the surface and not an edge, as in the follow-up paper


def volume_points(mixture: Mixture, count: int, generator: np.random.Generator) -> Cloud:
    """`count` independent points whose density is that of the mixture.

    Raises ValueError for count < 1.
    """
    if count < 1:
        raise ValueError(f"number of points {count}: must be at least 1")
    return Cloud(sample_mixture(mixture, count, generator))


def surface_points(
    mixture: Mixture,
    cameras: Cameras,
    image_size: tuple[int, int],
    color: Float[ANY_ARRAY, "mixture 3"] | None = None,
) -> Cloud:
    """Points where the rays of pixels meet the mixture, with normals towards the cameras.

    Images have (height, width) pixels. Those with alpha above SURFACE_ALPHA count, view by view, row by row. All is in
    one frame in which the object's scale is 1, such as the canonical one.
    Raises ValueError where no camera sees a surface.
    """
    clouds = []
    for view in range(len(cameras.intrinsics)):
        camera = jax.tree.map(lambda x, v=view: np.asarray(x[v : v + 1], mixture.mean.dtype), cameras)
        rays, seen = pixel_rays(camera, *image_size), _look(mixture, camera, image_size, color)
        shown = np.asarray(seen.alpha) > SURFACE_ALPHA
        point = np.asarray(rays.origin + seen.depth[..., None] * rays.direction)
        images = (point, seen.normal, seen.color)
        clouds.append([None if image is None else np.asarray(image)[shown].astype(float) for image in images])
    cloud = Cloud(*(None if parts[0] is None else np.concatenate(parts) for parts in zip(*clouds, strict=True)))
    if not len(cloud.point):
        raise ValueError(f"surface points: no pixel of {len(clouds)} views has an alpha above {SURFACE_ALPHA}")
    return cloud


def cloud_to_world(cloud: Cloud, frame: Frame) -> Cloud:
    """The same points in the input's frame and unit."""
    return cloud._replace(point=frame.to_world(cloud.point))


@ready(2)
def _look(mixture: Mixture, cameras: Cameras, image_size: tuple[int, int], color: ANY_ARRAY | None) -> Rendering:
    outputs = ("alpha", "depth", "normal")
    return render_views(
        mixture, cameras, image_size, outputs=outputs if color is None else (*outputs, "color"), color=color
    )

"""Damage to silhouettes and cameras before a fit sees them: seeded, pure, one function for each kind in NOISES.

Each changes only what its name says. Depth, colour and validity of the views stay.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.views import Views, foreground

TOUCHED = 0.5  # share of the views that are damaged or over-segmented: 16 of 32 in section 7.2
BLOBS = 3  # added to a view that is over-segmented


def damaged(views: Views, generator: np.random.Generator, strength: float = 1 / 8) -> Views:
    """The views; half of them lose the share `strength` of their silhouette (under-segmentation, section 7.2).

    Mini-batch k-means splits the coordinates of the silhouette's pixels into round(1 / strength) clusters. One of them,
    a random one, becomes background. Silhouettes with fewer pixels than clusters stay whole.
    Raises ValueError for a strength outside (0, 1/2].
    """
    clusters = round(1.0 / _within("damaged", strength, 0.5))

    def drop(silhouette: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        pixels = np.argwhere(foreground(silhouette))
        if len(pixels) < clusters:
            return silhouette
        dropped = pixels[_clusters(pixels, clusters, generator) == generator.integers(clusters)]
        silhouette[tuple(dropped.T)] = 0.0
        return silhouette

    return _in_half(views, generator, drop)


def over_segmented(views: Views, generator: np.random.Generator, strength: float = 1 / 8) -> Views:
    """The views; half of them gain the share `strength` of their silhouette, as BLOBS round blobs on the outline.

    Empty silhouettes stay empty. Raises ValueError for a strength outside (0, 1].
    """
    strength = _within("over_segmented", strength, 1.0)

    def add(silhouette: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        total = round(strength * np.count_nonzero(foreground(silhouette)))
        for count in np.diff(np.linspace(0, total, BLOBS + 1).round().astype(int)):
            inside = foreground(silhouette)
            outline = np.argwhere(inside & binary_dilation(~inside))
            background = np.argwhere(~inside)
            if len(outline) == 0:
                break
            away = np.sum((background - outline[generator.integers(len(outline))]) ** 2, axis=1)
            silhouette[tuple(background[np.argsort(away, kind="stable")[:count]].T)] = 1.0
        return silhouette

    return _in_half(views, generator, add)


def flipped(views: Views, generator: np.random.Generator, strength: float = 0.02) -> Views:
    """The views; each pixel becomes its opposite with probability `strength`, independently of the others.

    Raises ValueError for a strength outside (0, 1].
    """
    silhouette = np.array(views.silhouette)
    turned = generator.uniform(size=silhouette.shape) < _within("flipped", strength, 1.0)
    return views._replace(silhouette=np.where(turned, 1 - silhouette, silhouette))


def blurred(views: Views, generator: np.random.Generator, strength: float = 1.0) -> Views:
    """The views with masks blurred by a Gaussian of standard deviation `strength` pixels; nothing is random.

    Raises ValueError for a strength that is not positive.
    """
    sigma = _within("blurred", strength, np.inf)
    soft = gaussian_filter(np.asarray(views.silhouette), (0.0, sigma, sigma), mode="nearest")
    return views._replace(silhouette=np.clip(soft, 0.0, 1.0))


def camera(views: Views, generator: np.random.Generator, strength: float = 1.0, percent: float | None = None) -> Views:
    """The views with cameras turned about themselves by `strength` degrees and shifted by `percent` of the scale.

    Both are root mean squares of normal rotation vectors and shifts. Without `percent` it is the number of the degrees.
    Views are in the canonical frame, where the scale is 1.
    Raises ValueError for degrees that are not positive or a negative percentage.
    """
    degrees = _within("camera", strength, 180.0)
    percent = degrees if percent is None else percent
    if not percent >= 0.0:
        raise ValueError(f"camera: shift of {percent} %; must be at least 0")
    pose = np.array(views.cameras.world_from_camera)
    turn, shift = generator.normal(size=(2, len(pose), 3)) / np.sqrt(3.0)
    pose[:, :3, :3] = pose[:, :3, :3] @ Rotation.from_rotvec(np.deg2rad(degrees) * turn).as_matrix()
    pose[:, :3, 3] += percent / 100.0 * shift
    return views._replace(cameras=views.cameras._replace(world_from_camera=pose))


NOISES: dict[str, Callable[..., Views]] = {  # (views, generator, strength) -> views; each has a strength by default
    "damaged": damaged,
    "over_segmented": over_segmented,
    "flipped": flipped,
    "blurred": blurred,
    "camera": camera,
}


def changed_views(before: Views, after: Views) -> Bool[np.ndarray, " view"]:
    """Which views have another silhouette or camera than before."""

    def differs(field: ANY_ARRAY, other: ANY_ARRAY) -> np.ndarray:
        return np.any(np.asarray(field) != np.asarray(other), axis=(1, 2))

    return differs(before.silhouette, after.silhouette) | differs(
        before.cameras.world_from_camera, after.cameras.world_from_camera
    )


def _within(name: str, strength: float, most: float) -> float:
    if not 0.0 < strength <= most:
        allowed = "above 0" if most == np.inf else f"above 0 and at most {most:g}"
        raise ValueError(f"{name}: strength {strength}; must be {allowed}")
    return strength


def _in_half(
    views: Views, generator: np.random.Generator, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> Views:
    silhouette = np.array(views.silhouette)
    chosen = generator.choice(len(silhouette), int(TOUCHED * len(silhouette)), replace=False)
    for view in chosen:
        silhouette[view] = change(silhouette[view], generator)
    return views._replace(silhouette=silhouette)


def _clusters(
    pixels: Float[np.ndarray, "pixel 2"] | np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Number of the cluster of each pixel."""
    # importing this takes 1 to 2 s; other kinds of noise need not wait for it
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # threads that wait for each other take longer than the small task itself
        return MiniBatchKMeans(count, n_init=3, random_state=int(generator.integers(2**31))).fit_predict(pixels)

"""Losses on the vertices of a mesh against a target: silhouettes, points, normals, volume, and a user's own."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from fmb.fields.isosurface import Surface
from fmb.fit.losses import weighted_mean
from fmb.geometry.views import Views
from fmb.latent.silhouettes import SILHOUETTES
from fmb.options import did_you_mean

SOFT = 1e-6  # length that is added below roots, whose slope at 0 is infinite


class Target(NamedTuple):
    """What the surface should become, in the frame of the surface; None: not known."""

    views: Views | None = None
    points: Float[np.ndarray, "point 3"] | None = None
    normals: Float[np.ndarray, "point 3"] | None = None
    volume: float | None = None
    surface: Surface | None = None  # where it is known, silhouettes of both are drawn alike and the loss can reach 0


class Loss(NamedTuple):
    """A loss: `value(surface, more)` is compiled; `more` comes from `prepare(vertices)` before each step."""

    value: Callable[[Surface, Any], Array]
    prepare: Callable[[np.ndarray], Any]


class Pairs(NamedTuple):
    """The nearest point of the target for each vertex, and the nearest vertex for each point of the target."""

    point: Int[np.ndarray, " vertex"]
    vertex: Int[np.ndarray, " point"]


def silhouette_loss(target: Target, kind: str) -> Loss:
    """Mean square of the differences between the mesh's silhouettes and the target's, where these are known."""
    views, draw = _known(target, "views"), SILHOUETTES[kind]
    dtype = jnp.result_type(float)
    cameras = views.cameras._replace(
        **{name: jnp.asarray(array, dtype) for name, array in views.cameras._asdict().items()}
    )
    size = views.silhouette.shape[1:]
    if target.surface is None:
        wanted = jnp.asarray(views.silhouette, dtype)
    else:
        wanted = jax.jit(lambda surface: draw(surface, cameras, size))(target.surface)
    weight = None if views.valid is None else jnp.asarray(views.valid, dtype)

    def value(surface: Surface, more: Any) -> Array:
        return weighted_mean((draw(surface, cameras, size) - wanted) ** 2, weight)

    return Loss(value, nothing)


def chamfer_loss(target: Target) -> Loss:
    """Mean distance of the mesh from the target's points, and of these from the mesh's vertices, halved."""
    tree, points = _tree(target), jnp.asarray(_known(target, "points"), jnp.result_type(float))

    def value(surface: Surface, pairs: Pairs) -> Array:
        there = weighted_mean(_length(surface.vertex - points[pairs.point]), surface.weight)
        back = jnp.mean(_length(surface.vertex[pairs.vertex] - points))
        return (there + back) / 2.0

    return Loss(value, partial(_pairs, tree))


def points_loss(target: Target) -> Loss:
    """Mean distance of the target's points, which may be of a part alone, from the nearest vertices of the mesh."""
    tree, points = _tree(target), jnp.asarray(_known(target, "points"), jnp.result_type(float))

    def value(surface: Surface, pairs: Pairs) -> Array:
        return jnp.mean(_length(surface.vertex[pairs.vertex] - points))

    return Loss(value, partial(_pairs, tree))


def normals_loss(target: Target) -> Loss:
    """The Chamfer loss, and a tenth of the mean 1 - cosine between normals of vertices and of the nearest points."""
    chamfer, normals = chamfer_loss(target), jnp.asarray(_known(target, "normals"), jnp.result_type(float))

    def value(surface: Surface, pairs: Pairs) -> Array:
        vector = jnp.zeros_like(surface.vertex).at[surface.face.ravel()].add(jnp.repeat(surface.area_vector, 3, axis=0))
        cosine = jnp.sum(vector * normals[pairs.point], axis=1) / _length(vector)
        return chamfer.value(surface, pairs) + 0.1 * weighted_mean(1.0 - cosine, surface.weight)

    return Loss(value, chamfer.prepare)


def volume_loss(target: Target) -> Loss:
    """Square of the relative difference of the volumes.  Raises ValueError for a target without volume."""
    wanted = _known(target, "volume")
    if not wanted > 0.0:
        raise ValueError(f"--loss volume: the target's volume is {wanted:g}; must be above 0, as closed meshes have it")
    return Loss(lambda surface, more: (surface.volume / wanted - 1.0) ** 2, nothing)


LOSSES: dict[str, Callable[[Target], Loss]] = {
    "silhouettes": partial(silhouette_loss, kind="layers"),
    "spots": partial(silhouette_loss, kind="spots"),
    "fuzzy": partial(silhouette_loss, kind="fuzzy"),
    "chamfer": chamfer_loss,
    "points": points_loss,
    "normals": normals_loss,
    "volume": volume_loss,
}


def find_loss(name: str, target: Target) -> Loss:
    """The loss of that name in LOSSES, the sum of several (a+b), or the function that FILE.py:function names.

    The user's function takes a `Surface` and returns a number; it is compiled. Raises ValueError for another name, for
    a file or function that is not there, and for a target that lacks what the loss compares with.
    """
    if name in LOSSES:
        return LOSSES[name](target)
    if "+" in name and ":" not in name:
        return total([find_loss(part.strip(), target) for part in name.split("+")])
    path, colon, function = name.rpartition(":")
    if not colon:
        allowed = f"one of {', '.join(LOSSES)}, or FILE.py:function"
        raise ValueError(f"--loss is {name!r}{did_you_mean(name, LOSSES)}; must be {allowed}")
    own = _own(Path(path), function)
    return Loss(lambda surface, more: _number(own, surface, name), nothing)


def total(losses: Sequence[Loss]) -> Loss:
    """The sum of the losses."""

    def value(surface: Surface, more: Any) -> Array:
        return sum(loss.value(surface, part) for loss, part in zip(losses, more, strict=True))

    return Loss(value, lambda vertices: tuple(loss.prepare(vertices) for loss in losses))


def _own(path: Path, name: str) -> Callable[[Surface], Array]:
    if not path.is_file():
        raise ValueError(f"--loss {path}:{name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--loss {path}:{name}: {path} is no Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"--loss {path}:{name}: {path} does not run ({type(error).__name__}: {error})") from error
    if not callable(getattr(module, name, None)):
        raise ValueError(f"--loss {path}:{name}: {path} has no function {name}")
    return getattr(module, name)


def _number(own: Callable[[Surface], Array], surface: Surface, name: str) -> Array:
    """What the user's function returns.  Raises ValueError where it fails or returns no floating-point number."""
    try:
        value = jnp.asarray(own(surface))
    except Exception as error:
        raise ValueError(f"--loss {name}: the function fails ({type(error).__name__}: {_line(error)})") from error
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"--loss {name}: returns {value.dtype} of shape {value.shape}; must be one real number")
    return value


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def nothing(vertices: np.ndarray) -> tuple[()]:
    """What a loss needs that compares with nothing that moves."""
    return ()


def _known(target: Target, name: str) -> Any:
    found = getattr(target, name)
    if found is None:
        raise ValueError(f"--loss: the target has no {name} that this loss could compare with")
    return found


def _tree(target: Target) -> cKDTree:
    return cKDTree(_known(target, "points"))


def _pairs(tree: cKDTree, vertices: Float[np.ndarray, "vertex 3"]) -> Pairs:
    point, vertex = tree.query(vertices)[1], cKDTree(vertices).query(tree.data)[1]
    return Pairs(np.asarray(point, np.int32), np.asarray(vertex, np.int32))


def _length(x: Float[Array, "point 3"]) -> Float[Array, " point"]:
    return jnp.sqrt(jnp.sum(x * x, axis=1) + SOFT**2)

"""A flat map of a mesh's surface, and the places on the surface that lie under the pixels of a texture."""

from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

MISSING = "a texture needs the package xatlas: pip install xatlas (conda-forge: xatlas-python), or the extra `texture`"
PADDING = 2  # texels between the parts of the map, so that none mixes with its neighbour


class Atlas(NamedTuple):
    """The mesh cut open: where its corners lie in the map, from 0 to 1, u to the right and v up."""

    vertex: Int[np.ndarray, " corner"]  # of the mesh; one along a cut has several corners
    face: Int[np.ndarray, "face 3"]  # of corners, in the order of the mesh's faces
    place: Float[np.ndarray, "corner 2"]


class Texels(NamedTuple):
    """Pixels of a texture that show the surface: which face, and the shares of its three corners, their sum 1."""

    row: Int[np.ndarray, " texel"]
    column: Int[np.ndarray, " texel"]
    face: Int[np.ndarray, " texel"]
    share: Float[np.ndarray, "texel 3"]


def xatlas_module() -> Any:
    """The library. Raises ValueError where it is not installed."""
    try:
        import xatlas
    except ImportError:
        raise ValueError(MISSING) from None
    return xatlas


def unwrap(mesh: trimesh.Trimesh, side: int) -> Atlas:
    """The map of a mesh for a texture of side x side, by xatlas. Raises ValueError where that is not installed."""
    xatlas = xatlas_module()
    work, packing = xatlas.Atlas(), xatlas.PackOptions()
    packing.padding, packing.resolution = PADDING, side
    work.add_mesh(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32))
    work.generate(pack_options=packing)
    vertex, face, place = work[0]
    return Atlas(vertex.astype(int), face.astype(int), place.astype(float))


def texels_of(atlas: Atlas, side: int) -> Texels:
    """The texels of a texture of side x side that the map's faces cover, those at their borders included."""
    corner = atlas.place[atlas.face] * [side, -side] + [-0.5, side - 0.5]  # x right, y down, 0 in the first middle
    image = Image.new("I", (side, side), 0)
    draw = ImageDraw.Draw(image)
    for number, triangle in enumerate(corner, start=1):
        draw.polygon([tuple(point) for point in triangle], fill=number)
    number = np.asarray(image)
    row, column = np.nonzero(number)
    face = number[row, column] - 1
    start, first, second = corner[face, 0], corner[face, 1] - corner[face, 0], corner[face, 2] - corner[face, 0]
    off = np.stack([column, row], axis=1) - start
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    flat = area == 0.0
    area = np.where(flat, 1.0, area)
    b = np.where(flat, 0.0, (off[:, 0] * second[:, 1] - off[:, 1] * second[:, 0]) / area)
    c = np.where(flat, 0.0, (first[:, 0] * off[:, 1] - first[:, 1] * off[:, 0]) / area)
    share = np.maximum(np.stack([1.0 - b - c, b, c], axis=1), 0.0)
    return Texels(row, column, face, share / share.sum(axis=1, keepdims=True))


def on_surface(
    values: Float[np.ndarray, "vertex number"], mesh: trimesh.Trimesh, texels: Texels
) -> Float[np.ndarray, "texel number"]:
    """What belongs to the mesh's vertices, linear within its faces."""
    return np.einsum("tc,tcn->tn", texels.share, values[np.asarray(mesh.faces)[texels.face]])


def spread(
    image: Float[np.ndarray, "height width channel"], known: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width channel"]:
    """The image, where it is not known that of the nearest pixel that is; as it is where nothing is known."""
    if not known.any():
        return image
    row, column = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[row, column]


def textured(mesh: trimesh.Trimesh, atlas: Atlas, image: Float[np.ndarray, "side side 3"]) -> trimesh.Trimesh:
    """The mesh with a texture, colours from 0 to 1; one that is cut has more vertices."""
    picture = Image.fromarray(np.rint(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8))
    material = trimesh.visual.material.PBRMaterial(
        name="textured", baseColorTexture=picture, metallicFactor=0.0, roughnessFactor=1.0
    )
    return trimesh.Trimesh(
        np.asarray(mesh.vertices)[atlas.vertex],
        atlas.face,
        vertex_normals=np.asarray(mesh.vertex_normals)[atlas.vertex],
        visual=trimesh.visual.TextureVisuals(atlas.place, material=material),
        process=False,
    )

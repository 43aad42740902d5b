"""A textured mesh of a prediction: what the photograph shows, else the mixture's colours, on both sides."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from trimesh.exchange.obj import export_obj

from fmb.fields.metaballs import vertex_colors
from fmb.geometry.atlas import on_surface, spread, texels_of, textured, unwrap
from fmb.geometry.views import Views, foreground
from fmb.machine import replacing
from fmb.shape.template_color import sighting
from fmb.tasks.export import Subject

NAME = "textured"
OWN = 0.05  # weight of the mixture's colour: a surface that the camera sees head on has 1


def write_texture(subject: Subject, photographs: Views | None, side: int, folder: Path) -> list[Path]:
    """Writes textured.glb, and textured.obj with its .mtl and .png; the files written.

    `photographs` are views of the shape with colours, None where there are none; `subject` has a mesh and colours.
    Raises ValueError where xatlas is not installed.
    """
    mesh = subject.mesh
    atlas = unwrap(mesh, side)
    texels = texels_of(atlas, side)
    image, known = np.zeros((side, side, 3)), np.zeros((side, side), bool)
    place, normal = (on_surface(np.asarray(part, float), mesh, texels) for part in (mesh.vertices, mesh.vertex_normals))
    known[texels.row, texels.column] = True
    color = vertex_colors(subject.mixture, subject.color, place)
    if photographs is not None:
        seen = sighting(mesh, place, normal, photographs, photographs.color)
        total, weight = np.einsum("vp,vpc->pc", seen.share, seen.color), seen.share.sum(axis=0)
        color = (total + OWN * color) / (weight + OWN)[:, None]
    image[texels.row, texels.column] = color
    found = textured(subject.frame.mesh_to_world(mesh), atlas, spread(image, known))
    text, others = export_obj(found, include_normals=True, return_texture=True, mtl_name=f"{NAME}.mtl")
    files = {f"{NAME}.glb": found.export(file_type="glb"), f"{NAME}.obj": text.encode(), **others}
    for name, data in files.items():
        with replacing(folder / name) as partial:
            partial.write_bytes(data)
    return [folder / name for name in files]


def without_rim(
    color: Float[np.ndarray, "height width 3"], silhouette: Float[np.ndarray, "height width"]
) -> np.ndarray:
    """The image with the object's colours going on beyond its silhouette, so that nothing is read between the two."""
    return spread(color, foreground(silhouette))

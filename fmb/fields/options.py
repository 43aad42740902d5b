"""Options of the closed surface of a mixture."""

from dataclasses import dataclass

from fmb.options import NONE, option


@dataclass(frozen=True)
class MeshOptions:
    """The closed surface: the format of its file, what it follows and how fine it is."""

    mesh: str = option("ply", "Format of the closed surface", choices=(NONE, "ply", "obj", "glb", "stl"))
    mesh_field: str = option(
        "hull",
        "What the surface follows: all silhouettes (hull) or the density at a point",
        choices=("hull", "density"),
    )
    mesh_resolution: int = option(96, "Grid cells along the longest side of the surface", at_least=16, at_most=1024)
    mesh_faces: int = option(0, "Most triangles of the surface (0: all)", at_least=0, at_most=10**8)

"""Options of the views of a mesh, of the comparison of shapes, and of meshes made symmetric."""

from dataclasses import dataclass

from fmb.options import NONE, option

MOST_TURNS = 12  # of cyclic_K
SYMMETRIES = ("none", "plane", "two_planes", *(f"cyclic_{count}" for count in range(2, MOST_TURNS + 1)), "revolution")


@dataclass(frozen=True)
class RenderingOptions:
    """The views that are drawn of the mesh."""

    num_views: int = option(20, "Number of views, in random directions", at_least=1, at_most=10_000)
    image_width: int = option(64, "Width of a view in pixels", at_least=8, at_most=8192)
    image_height: int = option(64, "Height of a view in pixels", at_least=8, at_most=8192)
    vfov_degrees: float = option(45.0, "Vertical field of view in degrees", at_least=1, at_most=150)
    camera_distance: float = option(
        3.0, "Distance of the cameras from the object, in object scales", above=1, at_most=1000
    )
    camera_roll: bool = option(False, "Turn each camera about its axis, too (false: up in the images is the mesh's y)")
    ground_truth: str = option(
        "auto",
        "What draws the reference images (auto: pyrender where OpenGL works)",
        choices=("auto", "pyrender", "raycast"),
    )


@dataclass(frozen=True)
class ComparisonOptions:
    """How two shapes are compared."""

    align: str = option(
        "none",
        "How the first shape is moved to the second before they are compared",
        choices=("none", "pca", "icp"),
    )
    length_factor: float = option(
        1.0, "Factor on the lengths of the first shape (1000: from metres to millimetres)", above=0, at_most=1e12
    )
    f_threshold: float = option(
        0.01, "Distance below which the F-score counts a point as found, in longest sides", above=0, at_most=1
    )


@dataclass(frozen=True)
class ReflectionOptions:
    """A mesh made symmetric about a plane, and how it then becomes finer."""

    symmetrise: str = option(
        NONE,
        "Make the mesh symmetric: left_to_right, right_to_left, centre, or several with commas, one a slice",
    )
    mirror_plane: str = option(
        "found", "Plane of symmetry: found, or its normal and offset as nx,ny,nz,d in the mesh's unit"
    )
    refinement: str = option(
        NONE,
        "More vertices of a symmetric mesh (loop: 4 times, else 2)",
        choices=(NONE, "centroid", "midpoint", "loop"),
    )

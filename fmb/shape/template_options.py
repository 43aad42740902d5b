"""Options of a template mesh that is bent to silhouettes."""

from dataclasses import dataclass

from fmb.options import option

SPHERE, HULL = "sphere", "hull"


@dataclass(frozen=True)
class TemplateOptions:
    """A mesh that is bent until its silhouettes are those of the views."""

    template_mesh: str = option(SPHERE, "What is bent: sphere, hull (of the masks), or a closed mesh with a plane")
    template_mirror: bool = option(True, "Keep the template symmetric: half the numbers; its plane is learnt")
    template_detail: int = option(
        3, "Subdivisions of the sphere (2: 162 vertices, 3: 642, 4: 2562)", at_least=1, at_most=4
    )
    template_refinement: str = option(
        "midpoint",
        "How a symmetric template gets twice the vertices",
        choices=("none", "centroid", "midpoint"),
    )
    stiffness: float = option(1.0, "Factor on the weight of the Laplacian: more is smoother", at_least=0, at_most=1000)
    template_color: float = option(
        1.0, "Weight of the views' hues beside their outlines (0: the outlines alone)", at_least=0, at_most=1000
    )

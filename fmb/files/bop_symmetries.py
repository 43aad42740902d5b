"""Symmetries of an object as BOP's models_info.json lists them, in the object's own frame and millimetres.

`symmetries_discrete` lists maps of the object's frame, 4 x 4 row by row, the identity not among them;
`symmetries_continuous` lists axes of revolution as `axis` and `offset`, a point on it.
Hodan et al., "BOP challenge 2020 on 6D object localization", ECCV workshops 2020.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fmb.files.cameras import rigid
from fmb.files.safe import entry, numbers

DISCRETE, CONTINUOUS = "symmetries_discrete", "symmetries_continuous"
MOST_DISCRETE = 119  # maps beside the identity: twice the turns of an icosahedron; only wheels and prisms have more


class BopSymmetries(NamedTuple):
    """Maps that leave the object as it is, the identity first; the axis of revolution and a point on it.

    `axis` is a unit vector, None where the file lists none.
    """

    maps: Float[np.ndarray, "map 4 4"]
    axis: Float[np.ndarray, "3"] | None
    offset: Float[np.ndarray, "3"]


def read_symmetries(record: Mapping[str, Any], where: str) -> BopSymmetries | None:
    """What the record of an object lists; None where it lists nothing.

    Raises ValueError that begins with `where` for what is no list of maps or axes, and for more than one axis.
    """
    found = {name: record.get(name) or [] for name in (DISCRETE, CONTINUOUS)}
    for (name, listed), most in zip(found.items(), (MOST_DISCRETE, 1), strict=True):
        if not isinstance(listed, list):
            raise ValueError(f"{where}: {name}: must be a list")
        if len(listed) > most:
            raise ValueError(f"{where}: {len(listed)} {name}; at most {most} can be read")
    if not any(found.values()):
        return None
    maps = [np.eye(4)]
    for number, listed in enumerate(found[DISCRETE]):
        place = f"{where}: {DISCRETE}, number {number + 1}"
        maps.append(rigid(numbers(listed, (16,), place).reshape(4, 4), place))
    axis, offset = None, np.zeros(3)
    for listed in found[CONTINUOUS]:
        place = f"{where}: {CONTINUOUS}"
        axis, offset = (numbers(entry(listed, name, place), (3,), f"{place}: {name}") for name in ("axis", "offset"))
        if not np.linalg.norm(axis) > 0.0:
            raise ValueError(f"{place}: axis {axis.tolist()}; must have a length")
        axis = axis / np.linalg.norm(axis)
    return BopSymmetries(np.stack(maps), axis, offset)

"""Which method a cloud calls for, and why."""

from typing import NamedTuple

from fmb.clouds.blobs import STRONG
from fmb.clouds.evidence import SPARSE, Evidence


class Choice(NamedTuple):
    """A method by its name, and a sentence that says why it was chosen."""

    method: str
    reason: str


def choose_method(evidence: Evidence) -> Choice:
    """The method for a normalised cloud: metaballs where it is noisy or sparse, else the network that shows details."""
    noise, spacing = 100.0 * evidence.noise, 100.0 * evidence.spacing
    if evidence.noise >= STRONG:
        return Choice(
            "metaballs", f"noise of {noise:.2g} % of the longest side hides details: few components smooth it"
        )
    if evidence.spacing >= SPARSE:
        return Choice("metaballs", f"points {spacing:.2g} % of the longest side apart show no details for a network")
    found = f"noise of {noise:.2g} % and points {spacing:.2g} % of the longest side apart leave details"
    return Choice("diff_cd", f"{found}, which a network shows; metaballs would be faster")

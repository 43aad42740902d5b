"""What recipe "best" does between chunks of steps: it moves idle components, doubts false pixels and odd views."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, Rays, Settings, render
from fmb.agreement import outline_error, outline_length, view_weight
from fmb.edges import mixture_from_edges
from fmb.fit import Course
from fmb.relocation import Worth, believed, component_worth, relocate
from fmb.sampling import Sampling
from fmb.supervision import Sample
from fmb.views import Views

RELOCATIONS, FIRST_RELOCATION, LAST_RELOCATION = 9, 0.12, 0.63  # how often, and between which parts of the fit
RELOCATED = 0.15  # of the components, at most, each time
WORTH_RAYS = 16_384  # sample of rays that tells what components are worth
FIRST_DOUBT = 0.25  # part of the fit after which masks may be doubted
FIRST_VIEW_DOUBT = 1 / 3  # and whole views
LOOKS = 40  # at all rays, at most, in a fit: each takes as long as hundreds of steps where there are many rays


class Attendant:
    """What looks after a fit, from its start to its end."""

    def __init__(
        self, views: Views, sampling: Sampling, generator: np.random.Generator, settings: Settings = Settings()
    ):
        self.silhouette, self.generator, self.settings = np.asarray(views.silhouette), generator, settings
        self.believed = np.ones(self.silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
        self.valid, self.weight = self.believed, sampling.weight()
        self.rays, self.length = np.flatnonzero(self.weight), outline_length(self.silhouette, self.valid)
        self.view_weight, self.error = np.ones(len(self.silhouette)), np.zeros(len(self.silhouette))
        self.look = FIRST_DOUBT
        self.due = list(np.linspace(FIRST_RELOCATION, LAST_RELOCATION, RELOCATIONS))

    def attend(self, course: Course, sample: Sample, progress: float) -> tuple[Course, Sample]:
        """Course and sample to go on with after the part `progress` of the fit."""
        if progress >= min(self.look, 1):  # at the end, always
            sample = self._doubt(course, sample, progress)
            self.look = progress + (1 - FIRST_DOUBT) / LOOKS
        passed = [due for due in self.due if due <= progress]
        self.due = self.due[len(passed) :]
        if passed and progress < 1:  # what moves at the very end would never learn its place
            course = self._relocate(course, sample)
        return course, sample

    def _doubt(self, course: Course, sample: Sample, progress: float) -> Sample:
        alpha = np.asarray(all_alpha(mixture_from_edges(course.average), sample.pixels.rays, self.settings))
        alpha = np.where(self.valid, alpha.reshape(self.silhouette.shape), 0)
        self.believed = self.valid & believed(alpha, self.silhouette)
        if progress >= FIRST_VIEW_DOUBT:  # two looks in a row, since a component may just have moved
            before, self.error = self.error, outline_error(alpha, self.silhouette, self.believed, self.length)
            self.view_weight = view_weight(np.minimum(before, self.error))
        return sample._replace(weight=jnp.asarray(self.weight * self.trust().ravel()))

    def trust(self) -> Float[np.ndarray, "view height width"]:
        """How much each pixel is believed: its view's weight, or 0."""
        return (self.view_weight[:, None, None] * self.believed).astype(np.float32)

    def _relocate(self, course: Course, sample: Sample) -> Course:
        chance = self.weight[self.rays] / self.weight[self.rays].sum()
        index = self.generator.choice(self.rays, WORTH_RAYS, p=chance)
        part = jax.tree.map(lambda x: x[index], sample.pixels)
        trust = jnp.asarray(self.trust().ravel()[index])
        worth = Worth(*map(np.asarray, component_worth(course.parameters, part, trust, self.settings)))
        moved, changed = relocate(course.parameters, worth, math.ceil(RELOCATED * len(worth.value)))

        def forget(moment: Array) -> Array:
            return jnp.where(changed.reshape(-1, *(1,) * (moment.ndim - 1)), 0, moment)

        mean, square = jax.tree.map(forget, (course.mean, course.square))
        return Course(moved, mean, square, moved, course.step)


@jax.jit
def all_alpha(mixture: Mixture, rays: Rays, settings: Settings = Settings()) -> Float[Array, " ray"]:
    """Alpha along all rays."""
    return render(mixture, rays, outputs=("alpha",), settings=settings).alpha

"""Fits of many mixtures at once: each is that of `fit_to_views`, step by step; they share a program and the devices.

A slot holds one fit. When it ends another takes its slot, so that fits of unequal length do not wait for one another.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fmb.fit.loop import Course, Fit, Steps, begin
from fmb.fit.parallel import Places, bytes_of, empty, filler, find_places, over_slots
from fmb.fit.programs import announce
from fmb.fit.schedules import Pace
from fmb.shape.attendant import Attention, Care, attend
from fmb.shape.recipe import CANDIDATES, ShapeProgram, Work
from fmb.shape.supervision import Sample

WORKING_COPIES = 16  # arrays of a number for each component and ray that a step keeps: an estimate from above


class Candidates(NamedTuple):
    """States of least loss so far, in no order; infinite where there is none yet."""

    loss: Float[Array, " candidate"]
    parameters: Any  # with an axis of candidates in front


class Given(NamedTuple):
    """What a fit looks at and does not change."""

    care: Care
    sample: Sample


class Place(NamedTuple):
    """Where a fit stands between two chunks of steps."""

    course: Course
    pace: Pace
    attention: Attention
    weight: Float[Array, " ray"]  # of each pixel in the loss, as it is believed now
    low: Candidates


class Seen(NamedTuple):
    """What is told of a chunk: its steps, the number of all steps so far and at the end, whether all is finite."""

    steps: Steps
    step: Int[Array, ""]
    end: Int[Array, ""]
    finite: Bool[Array, ""]


class Ended(NamedTuple):
    """A fit at its end, with the states that may be better, or in words why there is none."""

    ticket: Hashable
    work: Work
    fit: Fit | None
    attention: Attention | None
    low: tuple[Any, ...]
    error: str = ""


def place_of(program: ShapeProgram, work: Work) -> Place:
    """Where a fit stands before its first step."""
    course = begin(work.start)
    copies = jax.tree.map(lambda x: jnp.stack([x] * CANDIDATES), course.average)
    none = Candidates(jnp.full(CANDIDATES, jnp.inf, jnp.result_type(*jax.tree.leaves(copies))), copies)
    return Place(course, program.fit.pace(work.steps_per_epoch), work.attention, work.sample.weight, none)


def chunk_of(program: ShapeProgram) -> Callable[[Given, Place, Array], tuple[Place, Seen]]:
    """A pure function that takes a chunk of steps of one fit, and what its recipe does afterwards; none at its end."""
    run, attends, settings = program.fit.run, program.recipe.attends, program.aims.settings

    def go(given: Given, index: Array, standing: Place) -> tuple[Place, Seen]:
        sample, first = given.sample._replace(weight=standing.weight), standing.pace.step
        course, pace, steps = run(standing.course, standing.pace, sample, index)
        taken = jnp.arange(len(steps.loss)) < pace.step - first
        mean = jnp.sum(jnp.where(taken, steps.loss, 0)) / jnp.sum(taken)
        finite = jnp.isfinite(mean) & jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(course)]))
        low, attention = remembered(standing.low, mean, course.average), standing.attention
        if attends:
            step = pace.step.astype(steps.progress.dtype)
            progress = (step / jnp.round(step / steps.progress)).astype(jnp.float32)
            attention, course, sample = attend(given.care, attention, course, sample, progress, settings)
        return Place(course, pace, attention, sample.weight, low), Seen(steps, pace.step, pace.end, finite)

    def stay(given: Given, index: Array, standing: Place) -> tuple[Place, Seen]:
        steps = jax.eval_shape(run, standing.course, standing.pace, given.sample, index)[2]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), steps)
        return standing, Seen(nothing, standing.pace.step, standing.pace.end, jnp.array(True))

    def chunk(given: Given, standing: Place, index: Array) -> tuple[Place, Seen]:
        goes = standing.pace.step < standing.pace.end
        return jax.lax.cond(goes, partial(go, given, index), partial(stay, given, index), standing)

    return chunk


def remembered(low: Candidates, loss: Array, parameters: Any) -> Candidates:
    """The candidates, the worst replaced by the parameters if their loss is less."""
    worst = jnp.argmax(low.loss)
    better = loss < low.loss[worst]
    kept = jax.tree.map(lambda x, y: x.at[worst].set(jnp.where(better, y, x[worst])), low.parameters, parameters)
    return Candidates(low.loss.at[worst].min(loss.astype(low.loss.dtype)), kept)


class Fits:
    """Fits under way, each in a slot; the first work says of which shapes all are."""

    def __init__(self, program: ShapeProgram, first: Work, devices: int = 0, each: int = 0):
        given, standing = Given(first.care, first.sample), place_of(program, first)
        pairs = len(jax.tree.leaves(first.start)[0]) * program.fit.options.batch_size
        self.program, self.kind = program, kind_of(first)
        self.places = find_places(bytes_of((given, standing)) + 4 * WORKING_COPIES * pairs, devices, each)
        self.given, self.standing = empty(given, self.places), empty(standing, self.places)
        self.run, self.put_one, self.take_one = programs(program, self.kind, self.places)
        shape = self.places.count, program.fit.chunk, program.fit.options.batch_size
        self.rows, self.tenants = np.zeros(shape, np.int32), [None] * self.places.count

    @property
    def free(self) -> int:
        """Number of slots that are not taken."""
        return self.tenants.count(None)

    @property
    def tickets(self) -> list[Hashable]:
        """The fits under way."""
        return [tenant.ticket for tenant in self.tenants if tenant is not None]

    def put(self, ticket: Hashable, work: Work) -> None:
        """Begins a fit in a free slot."""
        slot = self.tenants.index(None)
        here = Given(work.care, work.sample), place_of(self.program, work)
        self.given, self.standing = (
            self.put_one(all_of, np.int32(slot), one)
            for all_of, one in zip((self.given, self.standing), here, strict=True)
        )
        self.tenants[slot] = Tenant(ticket, work, work.batches(self.program.fit.options))

    def advance(self) -> list[Ended]:
        """Takes a chunk of steps in every slot; the fits that have ended with it, whose slots are then free."""
        for slot, tenant in enumerate(self.tenants):
            if tenant is not None:
                self.rows[slot] = [next(tenant.batches) for _ in range(self.program.fit.chunk)]
        index = jax.device_put(self.rows, self.places.sharding)
        self.standing, told = self.run(self.given, self.standing, index)
        seen, ended = jax.device_get(told), []
        for slot, tenant in enumerate(self.tenants):
            if tenant is not None and tenant.hears(jax.tree.map(lambda x, slot=slot: x[slot], seen)):
                ended.append(self._ended(slot, tenant))
                self.tenants[slot] = None
        return ended

    def _ended(self, slot: int, tenant: "Tenant") -> Ended:
        standing: Place = jax.device_get(self.take_one(self.standing, np.int32(slot)))
        if tenant.error:
            # the slot would go on to its end otherwise
            pace = standing.pace._replace(end=standing.pace.step)
            self.standing = self.put_one(self.standing, np.int32(slot), standing._replace(pace=pace))
            return Ended(tenant.ticket, tenant.work, None, None, (), tenant.error)
        fit = Fit(standing.course.average, np.concatenate(tenant.loss), np.concatenate(tenant.rate))
        known = np.flatnonzero(np.isfinite(standing.low.loss))
        order = known[np.argsort(standing.low.loss[known], kind="stable")]
        low = tuple(jax.tree.map(lambda x, n=number: x[n], standing.low.parameters) for number in order)
        return Ended(tenant.ticket, tenant.work, fit, jax.tree.map(jnp.asarray, standing.attention), low)


def programs(program: ShapeProgram, kind: Hashable, places: Places) -> tuple[Callable, Callable, Callable]:
    """What takes a chunk of steps, fills a slot, and empties one: compiled once for fits that are alike."""
    like = program.fit.options, program.recipe.attends, program.aims, kind, places
    if like not in known:
        announce(("batch", like))
        known.clear()
        take = jax.jit(lambda tree, slot: jax.tree.map(lambda x: x[slot], tree))
        known[like] = over_slots(chunk_of(program), places), filler(places), take
    return known[like]


known: dict[Hashable, tuple[Callable, Callable, Callable]] = {}


class Tenant:
    """Who has a slot, and what was told of it so far."""

    def __init__(self, ticket: Hashable, work: Work, batches: Any):
        self.ticket, self.work, self.batches = ticket, work, batches
        self.step, self.loss, self.rate, self.error = 0, [], [], ""

    def hears(self, seen: Seen) -> bool:
        """Notes a chunk; whether the fit has ended with it."""
        taken, first = int(seen.step) - self.step, self.step
        self.step = int(seen.step)
        self.loss.append(seen.steps.loss[:taken])
        self.rate.append(seen.steps.learning_rate[:taken])
        if not seen.finite:
            self.error = f"the fit is not finite between steps {first} and {self.step}; try a smaller initial_lr"
        return bool(self.error) or self.step >= int(seen.end)


def kind_of(work: Work) -> Hashable:
    """What must be alike of works that share a program."""
    leaves, structure = jax.tree.flatten((work.start, work.sample, work.care))
    return structure, tuple((np.shape(x), np.asarray(x).dtype.str) for x in leaves)

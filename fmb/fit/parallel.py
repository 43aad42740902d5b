"""Several devices: many small fits at once, a slot each, or the rays of one large fit.

Slots need nothing of one another, so nothing is communicated, and each host has its own. On a CPU a device takes its
slots one after the other: a conditional then costs only the branch that is taken, and arrays stay in the cache. Other
devices take them together.

The rays of a step are spread over all devices of all hosts, each of which has all parameters: after each step the loss
and its slope are averaged over them, some kilobytes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SLOTS = PartitionSpec("slot")
RAYS = "ray"  # the axis of devices that share the rays of a step
SLOTS_OF_CPU = 4  # of each device: chunks take 0.1 s, and one that is late is made up for by the others
MEMORY_SHARE = 0.5  # of what a device has free, for all its slots
MOST_SLOTS = 256  # of each device: a GPU is busy long before


class Places(NamedTuple):
    """Devices in a row, how many slots each has, and whether it takes them together."""

    mesh: Mesh
    each: int
    together: bool

    @property
    def count(self) -> int:
        """Number of all slots."""
        return self.each * self.mesh.size

    @property
    def sharding(self) -> NamedSharding:
        """Of arrays whose first axis is the slot."""
        return NamedSharding(self.mesh, SLOTS)


def find_places(slot_bytes: int, devices: int = 0, each: int = 0) -> Places:
    """Places on that many local devices (0: all), for slots that need so much memory each; `each` (0: what has room).

    Raises ValueError for more devices than there are.
    """
    local = jax.local_devices()
    if devices > len(local):
        raise ValueError(f"batch_devices is {devices}; must be at most {len(local)}, the devices that JAX finds here")
    chosen = local[: devices or len(local)]
    together = chosen[0].platform != "cpu"
    return Places(Mesh(np.array(chosen), SLOTS), each or room(chosen[0], slot_bytes, together), together)


def room(device: Any, slot_bytes: int, together: bool) -> int:
    """How many slots of so many bytes a device has room for; at least one."""
    if not together:
        return SLOTS_OF_CPU
    known = device.memory_stats() or {}
    free = known.get("bytes_limit", 0) - known.get("bytes_in_use", 0)
    return int(np.clip(MEMORY_SHARE * free // slot_bytes, 1, MOST_SLOTS))


def over_slots(function: Callable[..., Any], places: Places) -> Callable[..., Any]:
    """The compiled function of arrays with an axis of slots in front, from one of a single slot.

    The first argument stays; the second is given away, so that its memory serves the result.
    """

    def of_device(*arguments: Any) -> Any:
        if places.together:
            return jax.vmap(function)(*arguments)
        return jax.lax.map(lambda one: function(*one), arguments)

    spread = jax.shard_map(of_device, mesh=places.mesh, in_specs=SLOTS, out_specs=SLOTS, check_vma=False)
    return jax.jit(spread, donate_argnums=1)


def filler(places: Places) -> Callable[[Any, Array, Any], Any]:
    """A compiled function that puts what belongs to one slot into its place: all, number of the slot, one."""

    def put(everything: Any, slot: Array, one: Any) -> Any:
        return jax.tree.map(lambda x, y: x.at[slot].set(y), everything, one)

    return jax.jit(put, donate_argnums=0, out_shardings=places.sharding)


def empty(one: Any, places: Places) -> Any:
    """Zeros for all slots, of the shapes and types of one."""

    def zeros(x: Any) -> Array:
        return jax.device_put(np.zeros((places.count, *np.shape(x)), np.asarray(x).dtype), places.sharding)

    return jax.tree.map(zeros, one)


def bytes_of(tree: Any) -> int:
    """Memory of all arrays."""
    return sum(int(np.prod(np.shape(x))) * np.asarray(x).dtype.itemsize for x in jax.tree.leaves(tree))


def ray_mesh(devices: int, batch_size: int, name: str = "batch_size") -> Mesh:
    """So many devices in a row, of all hosts (0: all); `name` is the option that says how large a batch is.

    Raises ValueError for more than there are, for some where there are several hosts, and where a batch cannot be
    shared out evenly.
    """
    everywhere = jax.devices()
    count = devices or len(everywhere)
    if count > len(everywhere):
        raise ValueError(f"fit_devices is {devices}; must be at most {len(everywhere)}, the devices that JAX finds")
    if jax.process_count() > 1 and count != len(everywhere):
        raise ValueError(f"fit_devices is {devices}; with several hosts it must be 0, all {len(everywhere)} devices")
    if batch_size % count:
        raise ValueError(f"{name} is {batch_size}; must be a multiple of fit_devices, {count}")
    return Mesh(np.array(everywhere[:count]), RAYS)


def on_all(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """The compiled function of arguments that every device of the mesh has whole; each knows its number, `part_of`.

    What comes back must be the same on all, as means over RAYS are.
    """
    spread = jax.shard_map(function, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)
    return jax.jit(spread)


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """The arrays of the tree on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def part_of(tree: Any, count: int) -> Any:
    """Within a function that runs on `count` devices: this one's even share of the rows of all arrays."""

    def share(rows: Array) -> Array:
        size = rows.shape[0] // count
        return jax.lax.dynamic_slice_in_dim(rows, size * jax.lax.axis_index(RAYS), size)

    return jax.tree.map(share, tree)


def over_rays(
    steps: Callable[..., tuple[Any, Any, Any]], devices: int, shapes: tuple[Any, Any, Any, Any]
) -> Callable[..., tuple[Any, Any, Any]]:
    """A compiled function of course, pace, data and rows [step, ray], whose rays are spread over devices.

    Every device has all data.  What comes back lies on this host's first device, as what is given does.
    """
    mesh = ray_mesh(devices, shapes[3].shape[1])
    everywhere, shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, RAYS))
    specs = PartitionSpec(), PartitionSpec(), PartitionSpec(), PartitionSpec(None, RAYS)
    spread = jax.shard_map(steps, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
    placed = [
        jax.tree.map(lambda x, to=to: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=to), tree)
        for tree, to in zip(shapes, (everywhere, everywhere, everywhere, shared), strict=True)
    ]
    run = jax.jit(spread).lower(*placed).compile()
    held: dict[int, tuple[Any, Array]] = {}  # what is given again is not sent again

    def put(x: Any) -> Array:
        if id(x) not in held:
            held[id(x)] = x, jax.device_put(np.asarray(x), everywhere)
        return held[id(x)][1]

    def call(course: Any, pace: Any, data: Any, index: Array) -> tuple[Any, Any, Any]:
        course, pace = jax.tree.map(lambda x: jax.device_put(np.asarray(x), everywhere), (course, pace))
        there = jax.tree.map(put, data)
        new = {id(x) for x in jax.tree.leaves(data)}
        for old in held.keys() - new:
            del held[old]
        found = run(course, pace, there, jax.device_put(np.asarray(index), shared))
        return jax.tree.map(lambda x: jax.device_put(np.asarray(x.addressable_data(0))), found)

    return call

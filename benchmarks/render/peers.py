"""A silhouette and its gradient by us and by other people's renderers, in one process and in turns.

    uv run --group bench python -m benchmarks.render.peers [--seconds 10] [--names 'DEODR, 320 faces' ...]
        [--beside OLD/fm_render.py ...] [--json FILE] [--results docs/results/render.md]

Every one draws the same view of the default mesh, and compares it with the same mask. The gradient is with respect
to what stands beside the name. Cameras, masks and whatever else does not change in a
fit are prepared before. Peers whose package is missing are skipped, and named. --beside takes the renderer of another
version in turns with this one.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from benchmarks.markdown import number, table
from benchmarks.measure import Timing, compiled_call, in_turns, load, machine
from benchmarks.render.methods import METHODS, Method, Scene, along_rays
from benchmarks.render.scenes import default_mesh, fitted_mixture, scattered_mixture, scene
from benchmarks.study import provenance, runnable, told
from fm_render import Mixture, Rays
from fmb.machine import plain, write_text

COMPONENTS = 40
TASKS = LOSS, GRADIENT, DEPTH, NORMALS, POSE = (
    "loss",
    "loss and gradient",
    "alpha, depth",
    "alpha, depth, normals",
    "gradient of the pose",
)
NEIGHBOURS = ("fm_numerics", "fm_tiles")  # of fm_render.py, which it imports by these names
FEWEST = 3  # turns
SIZES = ((80, 60), (160, 120), (256, 256))  # width, height
BURST = 4  # calls a turn
CELLS, BLUR, LEVEL = 64, 1.5, 0.3  # of the grid that a closed mesh is made from; blur in cells
# Milliseconds forward / forward and backward of the silhouette loss by image size (width, height); None: not measured.
# Not of this run: they were measured once, on another machine with 2 cores and no GPU, when this project began.
EARLIER: dict[str, dict[tuple[int, int], tuple[float | None, float]]] = {
    "PyTorch3D 0.7.9 Pulsar, 470 spheres": {(80, 60): (1.6, 2.3), (160, 120): (3.2, 4.2), (256, 256): (6.1, 8.4)},
    "PyTorch3D 0.7.9 points": {(80, 60): (4.5, 5.4), (160, 120): (16, 18), (256, 256): (56, 63)},
    "PyTorch3D 0.7.9 SoftRas mesh, 170 and 2,500 faces": {(80, 60): (6.7, 112), (256, 256): (532, 7788)},
    "released JAX code": {(80, 60): (3.4, 5.0), (160, 120): (None, 51)},
}


class Subject(NamedTuple):
    """What is to be drawn, in the forms that renderers take."""

    mesh: trimesh.Trimesh
    mixture: Mixture
    scene: Scene


Calls = dict[str, Callable[[], Any]]  # by a name of TASKS, ready to run


class Peer(NamedTuple):
    """`prepare` compiles; `package`: what it needs beside our own environment."""

    prepare: Callable[[Subject], Calls]
    differentiated: str
    package: str | None = None


def prepare_ours(method: Method, subject: Subject) -> Calls:
    """Cross-entropy from the density; images; the gradient of the pose."""
    functions = (
        method.loss,
        method.gradient,
        partial(method.images, ("alpha", "depth")),
        partial(method.images, ("alpha", "depth", "normal")),
        method.pose_gradient,
    )
    arguments = subject.mixture, subject.scene
    return {task: compiled_call(function, arguments) for task, function in zip(TASKS, functions, strict=True)}


def method_of(file: Path) -> Method:
    """The `render` of another fm_render.py, as it was in some other version, with the neighbours in its own folder."""
    ours = {name: sys.modules.pop(name) for name in NEIGHBOURS if name in sys.modules}
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec = importlib.util.spec_from_file_location("fm_render_of_another_version", file)
        other = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = other
        spec.loader.exec_module(other)
    finally:
        sys.path.pop(0)
        for name in NEIGHBOURS:
            sys.modules.pop(name, None)
        sys.modules.update(ours)

    def renderer(mixture: Mixture, rays: Rays, **options: Any) -> Any:
        return other.render(other.Mixture(*mixture), other.Rays(*rays), **options)

    return Method(*along_rays(renderer))


def prepare_deodr(faces: int, subject: Subject) -> Calls:
    """DEODR: a closed mesh of the same object, antialiased at its outline; mean squared error.

    One channel, ambient light alone: nothing is computed that a silhouette does not need.
    """
    from deodr import Camera, ColoredTriMesh, Scene3D

    surface = closed_mesh(subject.mesh, faces)
    mask = np.asarray(subject.scene.silhouette[0], float)
    camera_from_world = np.linalg.inv(np.asarray(subject.scene.cameras.world_from_camera[0], float))
    rotation = np.linalg.qr(camera_from_world[:3, :3])[0]  # DEODR wants it orthogonal to 1e-6; this was single
    rotation *= np.sign((rotation * camera_from_world[:3, :3]).sum(axis=0))
    extrinsic = np.column_stack([rotation, camera_from_world[:3, 3]])
    camera = Camera(extrinsic, np.asarray(subject.scene.cameras.intrinsics[0], float), *mask.shape)
    mesh = ColoredTriMesh(surface.faces, vertices=surface.vertices, colors=np.ones((len(surface.vertices), 1)))
    renderer = Scene3D(integer_pixel_centers=False)
    renderer.set_mesh(mesh)
    renderer.set_light(None, 1.0)
    renderer.set_background_color(np.zeros(1))

    def error() -> np.ndarray:
        mesh.set_vertices(surface.vertices)  # as after a step: whatever hangs on them is found anew
        return renderer.render(camera)[..., 0] - mask

    def both() -> tuple[float, np.ndarray]:
        wrong = error()
        renderer.render_backward((2.0 / wrong.size) * wrong[..., None])
        return (wrong**2).mean(), mesh._vertices_b

    return {LOSS: lambda: (error() ** 2).mean(), GRADIENT: both}


def closed_mesh(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """A closed surface of so many faces around the mesh's volume, which is blurred a little so that it stays closed.

    Raises ValueError where it does not: DEODR finds outlines by edges that two faces share.
    """
    step = mesh.extents.max() / CELLS
    axes = [np.arange(low - 3 * step, high + 3 * step, step) for low, high in mesh.bounds.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inside = mesh.contains(grid.reshape(-1, 3)).reshape(grid.shape[:3]).astype(float)
    vertices, triangles, _, _ = marching_cubes(gaussian_filter(inside, BLUR), LEVEL, spacing=3 * (step,))
    found = trimesh.Trimesh(vertices + grid[0, 0, 0], triangles)
    found = max(found.split(), key=lambda part: abs(part.volume)).simplify_quadric_decimation(face_count=faces)
    if found.volume < 0.0:
        found.invert()
    if not found.is_watertight or len(found.faces) != faces:
        raise ValueError(f"mesh for DEODR: {len(found.faces)} faces, not closed; must be {faces}, closed")
    return found


DIFFERENTIATED = "10 numbers a component"
PEERS: dict[str, Peer] = {
    f"ours, {name}": Peer(partial(prepare_ours, method), DIFFERENTIATED) for name, method in METHODS.items()
} | {
    f"DEODR, {faces:,} faces": Peer(partial(prepare_deodr, faces), f"{faces // 2 + 2} vertices", "deodr")
    for faces in (320, 1280)
}


def measure(
    names: Sequence[str], components: int, sizes: Sequence[tuple[int, int]], seconds: float
) -> list[dict[str, Any]]:
    """A row for each size and peer; all calls of a size in turns, for so many seconds."""
    mesh, rows = default_mesh(), []
    mixture = fitted_mixture(mesh, min(components, COMPONENTS))
    if components > COMPONENTS:
        mixture = scattered_mixture(mesh, mixture, components)
    for width, height in sizes:
        subject = Subject(mesh, mixture, scene(mesh, height, width))
        ready = {name: PEERS[name].prepare(subject) for name in names}
        calls = {(name, task): call for name, tasks in ready.items() for task, call in tasks.items()}
        for call in calls.values():
            call()
        timing = in_turns(calls, seconds, FEWEST, BURST)
        for name in names:
            times = {task: timing[name, task]._asdict() for task in ready[name]}
            rows.append({"name": name, "width": width, "height": height, "tasks": times})
    return rows


def quartiles(timing: Timing) -> str:
    """Median, and the quartiles."""
    return f"{number(timing.median)} ({number(timing.lower)}-{number(timing.upper)})"


def peer_table(rows: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> str:
    """Milliseconds by peer and size, of two or three tasks that all of these rows have."""
    sizes = list(dict.fromkeys((row["width"], row["height"]) for row in rows))
    head = (f"{' / '.join(tasks)} (ms)", *(f"{width} x {height}" for width, height in sizes))
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(" / ".join(quartiles(Timing(**row["tasks"][task])) for task in tasks))
    lines = [(f"{name}; {PEERS[name].differentiated}", *cells) for name, cells in found.items()]
    for name, times in EARLIER.items() if LOSS in tasks else ():
        cells = (times.get(size, ()) for size in sizes)
        words = (" / ".join("-" if x is None else f"{x:g}" for x in pair) or "-" for pair in cells)
        lines.append((f"elsewhere: {name}", *words))
    return table(head, lines)


def section(rows: Sequence[Mapping[str, Any]], run: str, skipped: str) -> str:
    """The section's text."""
    return "\n\n".join(
        (
            "## Renderer: peers",
            f"{run} Load at the end {load()}. {skipped}".strip(),
            "Silhouette loss of one image of data/ibex.ply, distance 3, 45 degrees: median (quartiles) of calls in "
            f"turns of {BURST} in one process, the first of each turn left out. Ours: cross-entropy, float32. DEODR: "
            "a closed mesh of the same object, antialiased, squared error, float64, one thread of C++ under NumPy; its "
            "gradient is that of the pixels along the outline. What was measured elsewhere is of another machine with "
            "2 cores, without GPU.",
            peer_table(rows, (LOSS, GRADIENT)),
            "The images, and value and gradient of cross-entropy and depth loss with respect to the camera's pose.",
            peer_table([row for row in rows if POSE in row["tasks"]], (DEPTH, NORMALS, POSE)),
        )
    )


def size_of(text: str) -> tuple[int, int]:
    """From WIDTHxHEIGHT."""
    words = text.split("x")
    if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise argparse.ArgumentTypeError(f"{text}: must be WIDTHxHEIGHT, as 80x60")
    return int(words[0]), int(words[1])


def main(argv: list[str]) -> int:
    """The table, printed and written; 2 and one line for what the user can mend."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.render.peers", description=__doc__, formatter_class=style)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each size; default: %(default)s")
    parser.add_argument("--names", nargs="+", choices=tuple(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="other versions of fm_render.py to time too")
    parser.add_argument("--components", type=int, default=COMPONENTS, help="more are scattered; default: %(default)s")
    parser.add_argument("--sizes", nargs="+", type=size_of, default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--json", type=Path, help="file that gets the rows")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv)

    def work() -> str:
        for file in options.beside:
            if not file.is_file():
                raise ValueError(f"{file}: no such file; must be an fm_render.py of another version")
            name = f"render of {file.resolve().parent.name}"
            PEERS[name] = Peer(partial(prepare_ours, method_of(file)), DIFFERENTIATED)
            options.names.append(name)
        names, skipped = runnable(PEERS, options.names)
        run = provenance("render.peers", argv)
        rows = measure(names, options.components, options.sizes, options.seconds)
        if options.json:
            write_text(options.json, json.dumps(plain({"machine": machine(), "rows": rows}), indent=1) + "\n")
        return section(rows, f"{run} Ours have {options.components:,} components.", skipped)

    return told(work, options.results, "render_peers")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The benchmarks' naive twin equals the renderer, and the benchmark runs. Nothing here looks at a clock."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks import measure
from benchmarks.measure import Rates, Timing, in_turns, interleaved, peak_memory
from benchmarks.render.cases import Batch, mixture_gradient, pose_gradient, shown
from benchmarks.render.methods import Work, plus
from benchmarks.render.naive import render_naive
from benchmarks.render.report import Comparison, comparison_table
from benchmarks.render.scenes import posed_rays
from fm_render import Mixture, Rays, render

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("density", "alpha", "depth", "normal")


@pytest.fixture(scope="module")
def scene() -> tuple[Mixture, Batch]:
    """Five components, one of them behind the camera, and 200 rays, the last of them turned away from everything."""
    generator = np.random.default_rng(0)
    mean = generator.normal(size=(5, 3)) * 0.3
    mean[4] = (0.1, 0.2, -4.0)
    precision_cholesky = np.tril(generator.normal(size=(5, 3, 3))) + 4.0 * np.eye(3)
    mixture = Mixture(*map(jnp.asarray, (mean, precision_cholesky, generator.normal(size=5))))
    direction = np.concatenate([generator.uniform(-0.3, 0.3, size=(200, 2)), np.ones((200, 1))], axis=1)
    origin = np.tile([0.0, 0.0, -3.0], (200, 1))
    origin[199], direction[199] = (0.0, 0.0, -9.0), (0.0, 0.0, -1.0)
    silhouette, depth = generator.uniform(size=200), generator.uniform(2.0, 4.0, size=200)
    return mixture, Batch(
        Rays(jnp.asarray(origin), jnp.asarray(direction)), jnp.asarray(silhouette), jnp.asarray(depth)
    )


def by_both(function, *arguments) -> tuple:
    """What `function(renderer, ...)` gives for the renderer and for its twin."""
    return tuple(jax.jit(partial(function, renderer))(*arguments) for renderer in (render, render_naive))


def test_naive_twin_shows_the_same(scene):
    ours, naive = by_both(partial(shown, IMAGES), *scene)
    for name, image, other in zip(IMAGES, ours, naive, strict=True):
        # the renderer moves rays near the object, which rounds otherwise
        assert_allclose(other, image, rtol=1e-9, atol=1e-12, err_msg=name)
    assert naive[2][199] == 0.0


def test_naive_twin_has_the_same_gradient(scene):
    (loss, ours), (other_loss, naive) = by_both(mixture_gradient, *scene)
    assert_allclose(other_loss, loss, rtol=1e-9)
    # the twin knows nothing of what is zero above the diagonal
    naive = naive._replace(precision_cholesky=jnp.tril(naive.precision_cholesky))
    for name, gradient, other in zip(Mixture._fields, ours, naive, strict=True):
        assert_allclose(other, gradient, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_naive_twin_has_the_same_pose_gradient(scene):
    mixture, batch = scene
    batch = Batch(batch.rays, *(x[:48] for x in batch[1:]))
    pose = jnp.full(6, 0.02)
    (loss, slope), (other_loss, other_slope) = by_both(
        partial(pose_gradient, partial(posed_rays, 6, 8)), pose, mixture, batch
    )
    assert_allclose(other_loss, loss, rtol=1e-9)
    assert_allclose(other_slope, slope, rtol=1e-9)
    assert float(jnp.abs(slope).min()) > 0.0


def test_naive_twin_gives_only_what_is_asked_for(scene):
    mixture, batch = scene
    rendering = jax.jit(partial(render_naive, outputs=("alpha",)))(mixture, batch.rays)
    assert [name for name, image in rendering._asdict().items() if image is not None] == ["alpha"]


def test_functions_are_called_in_turns():
    calls = []

    def note(name, x):
        jax.debug.callback(lambda: calls.append(name))
        return x + 1

    timing = interleaved({name: partial(note, name) for name in "ab"}, (jnp.zeros(2),), seconds=0.0, fewest=3, warm=1)
    jax.effects_barrier()
    assert "".join(calls) == "abababab"
    assert all(0.0 < t.minimum <= t.median for t in timing.values())


def test_first_call_of_a_burst_does_not_count_and_slow_ones_are_alone(monkeypatch):
    calls = []
    timing = in_turns({name: partial(calls.append, name) for name in "ab"}, seconds=0.0, fewest=2, burst=3)
    assert "".join(calls) == "aaabbbaaabbb"
    assert all(t.minimum <= t.lower <= t.median <= t.upper for t in timing.values())
    monkeypatch.setattr(measure, "SLOW", 0.0)
    calls.clear()
    in_turns({name: partial(calls.append, name) for name in "ab"}, seconds=0.0, fewest=2, burst=3)
    assert "".join(calls) == "abab"


def test_work_adds_up():
    work = plus(Work(flop=60, division=1, exponential=1, byte=8), Work(flop=40, division=1, exponential=0, byte=32))
    assert work == Work(100, 2, 1, 40)
    assert work.least(Rates(50.0, 4.0, 2.0, 10.0), components=4) == 4.0


def test_peak_memory_never_falls():
    before = peak_memory()
    assert before > 10.0
    block = np.ones(2**23)
    assert peak_memory() >= before
    assert block.sum() == 2**23


def test_ratio_is_naive_over_ours():
    rows = [
        Comparison("t", 40, 8000, Timing(2.0, 1.0), Timing(6.0, 4.0), 5.0),
        Comparison("t", 1000, 10**6, Timing(2.0, 1.0), None, None),
    ]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in comparison_table(rows).splitlines()]
    assert lines[2] == ["t", "40 x 8,000", "2 (1)", "6 (4)", "3.0 (4.0)", "5"]
    assert lines[3] == ["t", "1,000 x 1,000,000", "2 (1)", "-", "-", "-"]


@pytest.mark.slow
def test_benchmark_runs(tmp_path: Path):
    output = tmp_path / "RESULTS.md"
    command = [
        sys.executable,
        "-m",
        "benchmarks.render.bench_render",
        "--quick",
        "--output",
        str(output),
    ]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    assert done.stdout.strip() in text
    for words in ("silhouette loss, gradient", "Gflop/s", "no GPU in this run", "goal", "ns per pair"):
        assert words in text, words

"""Our renderers beside others', on a GPU, and as sizes grow: sizes of a few pixels, and no look at a clock."""

import json
import sys
from argparse import ArgumentTypeError

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks import gpu
from benchmarks.render import growth, peers
from benchmarks.render.growth import Growth
from benchmarks.render.methods import METHODS, RAYS, TILES, Method, Scene
from benchmarks.render.scenes import default_mesh, scene
from benchmarks.study import ROOT
from fm_render import Mixture

TINY = gpu.Size(3, 8)


@pytest.mark.slow
def test_every_method_sees_the_same():
    mixture, view = jax.tree.map(lambda x: np.asarray(x, float), gpu.ball(TINY))
    assert view.silhouette.shape == (1, 8, 8) and 0.0 < view.silhouette.mean() < 0.5
    loss, slope = jax.jit(METHODS[RAYS].gradient)(mixture, view)
    for name, method in METHODS.items():
        other, gradient = jax.jit(method.gradient)(mixture, view)
        assert_allclose(other, loss, rtol=1e-6, err_msg=name)
        assert_allclose(gradient.mean, slope.mean, rtol=1e-4, atol=1e-7, err_msg=name)


@pytest.mark.slow
def test_tiles_meet_a_share_of_the_pairs_of_many_components():
    few, many = (METHODS[TILES].met(*gpu.ball(size)) for size in (TINY, gpu.Size(100, 64)))
    assert few == 1.0 and 0.0 < many < 0.5  # the ball fills an eighth of the image


def test_report_of_a_gpu_says_how_far_it_is_from_the_cpu(tmp_path, monkeypatch, capsys):
    def images(outputs: tuple[str, ...], mixture: Mixture, scene: Scene) -> tuple[jax.Array]:
        return (scene.silhouette * sum(x.sum() for x in mixture),)

    quick = Method(images, lambda mixture, scene: images((), mixture, scene)[0].sum())
    monkeypatch.setitem(METHODS, RAYS, quick)
    monkeypatch.setattr(gpu, "fits", lambda end: iter([{"missing": "trimesh is not installed"}]))  # they take minutes
    monkeypatch.setattr(gpu, "machine_rates", lambda seconds: gpu.Rates(50.0, 4.0, 2.0, 10.0))
    argv = ["--output", str(tmp_path), "--names", RAYS, "--sizes", "3x8", "--parity", "3x8", "--seconds", "0"]
    assert gpu.main(argv) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["gradient"] for row in found["parity"]] == [0.0] and found["parity"][0]["good"]
    assert [row["kind"] for row in found["rows"]] == list(gpu.KINDS)
    assert all(0.0 < row["minimum"] <= row["median"] for row in found["rows"])
    text = (tmp_path / "gpu.md").read_text()
    assert text.strip() in capsys.readouterr().out and "3 x 8²" in text and "50 Gflop/s" in text
    assert "Whole fits: not measured, trimesh is not installed." in text

    # nothing is begun that would end too late, and what differs from the CPU is told
    monkeypatch.setattr(gpu, "ALPHA_TOLERANCE", -1.0)
    assert gpu.main([*argv, "--minutes", "0"]) == 1
    text = (tmp_path / "gpu.md").read_text()
    assert "not begun" in text and "NO" in text


def test_what_takes_longest_comes_last():
    sizes = [gpu.Size(1000, 1024), gpu.Size(40, 256)]
    cases = gpu.plan(list(METHODS), sizes, ["gpu", "cpu"])
    assert len(set(cases)) == 2 * 2 * 2 * len(METHODS) and [case.platform for case in cases[:4]] == 4 * ["gpu"]
    assert cases[0].size == sizes[1] and cases[-1] == gpu.Case("cpu", "naive twin", sizes[0], "both")


@pytest.mark.parametrize("text", ["40", "x8", "0x8", "4x8x8", "-4x8"])
def test_sizes_are_two_numbers(text):
    for module, words in ((gpu, "must be COMPONENTSxSIDE"), (peers, "must be WIDTHxHEIGHT")):
        with pytest.raises(ArgumentTypeError, match=words):
            module.size_of(text)


@pytest.mark.slow
def test_growth_is_drawn_from_its_rows(tmp_path, monkeypatch):
    rows = [Growth("render", count, side, 1.0, 2.0, 300.0, 400.0, 200.0) for count, side in growth.sizes_of(RAYS, True)]
    monkeypatch.setattr(growth, "measure_growth", lambda names, largest, seconds: rows)
    kept, results, first, again = (tmp_path / name for name in ("rows.json", "r/render.md", "first.png", "again.png"))
    results.parent.mkdir()
    assert growth.main(["--json", str(kept), "--picture", str(first), "--results", str(results)]) == 0
    assert growth.main(["--redraw", str(kept), "--picture", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()
    text = results.read_text()
    assert "](../first.png)" in text and "| render |      1,000 |  1024² |" in text
    # 2 ms for 40 components and 256 x 256 pixels
    assert f"{2e6 / (40 * 65536):.3f}" in text


def test_naive_twin_is_not_asked_for_what_does_not_fit():
    assert (640, 256) in growth.sizes_of(RAYS, False) and growth.LARGEST in growth.sizes_of(RAYS, True)
    assert growth.LARGEST not in growth.sizes_of("naive twin", True)


def test_peers_are_timed_in_turns_and_skipped_where_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "fitted_mixture", lambda mesh, count: gpu.ball(TINY)[0])
    quick = peers.Peer(lambda subject: dict.fromkeys(peers.TASKS, lambda: subject.mixture), "nothing")
    monkeypatch.setitem(peers.PEERS, f"ours, {RAYS}", quick)
    for name, peer in peers.PEERS.items():
        monkeypatch.setitem(peers.PEERS, name, peer._replace(package=peer.package and "no_such_package"))
    argv = [
        "--seconds",
        "0",
        "--sizes",
        "8x6",
        "--names",
        f"ours, {RAYS}",
        "DEODR, 320 faces",
        "--json",
        str(tmp_path / "rows.json"),
    ]
    assert peers.main(argv) == 0
    printed = capsys.readouterr().out
    assert "Skipped, for want of a package (No module named 'no_such_package'): DEODR, 320 faces." in printed
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert row["name"] == f"ours, {RAYS}" and list(row["tasks"]) == list(peers.TASKS)
    assert all(times["lower"] <= times["median"] <= times["upper"] for times in row["tasks"].values())
    assert peers.main([*argv, "--beside", str(tmp_path)]) == 2
    assert f"{tmp_path}: no such file; must be an fm_render.py" in capsys.readouterr().err


def test_another_version_of_the_renderer_draws_the_same():
    mixture, view = jax.tree.map(lambda x: np.asarray(x, float), gpu.ball(TINY))
    methods = METHODS[RAYS], peers.method_of(ROOT / "fm_render.py")
    loss, other = (float(jax.jit(method.loss)(mixture, view)) for method in methods)
    assert loss == other > 0.0


def test_another_version_has_its_own_neighbours(tmp_path):
    (tmp_path / "fm_tiles.py").write_text("from fm_numerics import FACTOR\n")
    (tmp_path / "fm_numerics.py").write_text("FACTOR = 3.0\n")
    program = "from fm_render import *\nimport fm_tiles\ndef render(mixture, rays, outputs):\n"
    program += "    return Rendering(density=fm_tiles.FACTOR * rays.direction[..., 2])\n"
    (tmp_path / "fm_render.py").write_text(program)
    mixture, view = gpu.ball(TINY)
    seen = peers.method_of(tmp_path / "fm_render.py").density(mixture, view)
    assert_allclose(np.ravel(seen), 3.0 * view.rays.direction[:, 2])
    assert "fm_tiles" in sys.modules and not hasattr(sys.modules["fm_tiles"], "FACTOR")


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")  # its own
def test_deodr_draws_the_silhouette_and_its_slope():
    pytest.importorskip("deodr", exc_type=ImportError)
    mesh = default_mesh()
    view = scene(mesh, 24, 32)
    for faces in (320, 1280):
        calls = peers.prepare_deodr(faces, peers.Subject(mesh, Mixture(*3 * [None]), view))
        loss, slope = calls[peers.GRADIENT]()
        assert loss == calls[peers.LOSS]() and slope.shape == (faces // 2 + 2, 3)
        assert np.isfinite(slope).all() and np.abs(slope).max() > 0.0
        # an empty image would be wrong by the whole object
        assert loss < 0.5 * float(view.silhouette.mean())

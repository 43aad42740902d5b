"""Options that a method does not read are told, those that it reads change its loss."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from fmb.clouds.methods import LOSSES, Batch
from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import preset_of, weights_of
from fmb.clouds.table import METHODS, OF_ALL
from fmb.config import Config
from fmb.fields.networks import Shape, network_field, start_network
from fmb.fields.points import Cloud
from fmb.tasks.points_notes import notes

BARE = Cloud(np.zeros((0, 3)))
OTHERS = {  # a value of each option that is not its default
    "num_steps": 7,
    "network_width": 9,
    "network_depth": 3,
    "activation": "elu",
    "points_per_step": 11,
    "points_rate": 0.5,
    "distance": "closest",
    "eikonal_weight": 0.7,
    "area_weight": 0.6,
    "surface_weight": 3.0,
    "body_weight": 0.9,
    "normal_weight": 0.8,
}


def told(method: str, cloud: Cloud = BARE, **options) -> list[str]:
    return notes(replace(Config(), cloud=PointsOptions(points_method=method, **options)), cloud)


def test_every_option_is_read_by_some_method_or_by_the_task():
    names = {*PointsOptions.__dataclass_fields__}
    assert names == {*OF_ALL, *(name for method in METHODS.values() for name in method.reads)}


@pytest.mark.parametrize("method", METHODS)
def test_options_that_a_method_does_not_read_are_told(method):
    for name, value in OTHERS.items():
        lines = [line for line in told(method, **{name: value}) if "without --use-normals" not in line]
        if name in METHODS[method].reads:
            assert lines == []
        else:
            (line,) = lines
            assert line.startswith(f"note: --{name.replace('_', '-')} changes nothing: method {method} does not read")
            assert all(reader in line for reader, other in METHODS.items() if name in other.reads)
    assert told(method) == []


def test_other_notes():
    assert told("diff_cd", components=50) == [
        "note: --num-mixtures changes nothing: method diff_cd does not read it, but metaballs"
    ]
    assert told("igr", use_normals=True) == ["note: --use-normals changes nothing: the file has no normals"]
    assert told("igr", Cloud(np.zeros((1, 3)), np.ones((1, 3))), use_normals=True) == []
    assert told("igr", normal_weight=1.0) == ["note: --normal-weight changes nothing without --use-normals true"]
    assert "does not read it" in told("neural_pull", use_normals=True)[0]


@pytest.mark.parametrize(("depth", "skip"), [(1, 0), (2, 1), (4, 2), (5, 4), (8, 4)])
def test_a_flat_net_has_its_skip_in_the_middle_and_says_so(depth, skip):
    options = {"preset": "paper", "network_depth": depth}
    assert preset_of(PointsOptions(**options)).skip == skip
    lines, where = told("igr", **options), f"before hidden layer {skip + 1}" if skip else "nowhere"
    assert lines == [] if skip == 4 else f"--network-depth {depth} the input enters a second time {where}" in lines[0]


@pytest.mark.parametrize("method", LOSSES)
def test_weights_that_a_method_reads_change_its_loss_and_the_others_do_not(method):
    generator = np.random.default_rng(0)
    layers = start_network(Shape(8, 1, 0, "sine"), generator)
    shapes = [(20, 3)] * 5 + [(20, 4, 3), (20, 3), (20,), (20, 3)]
    batch = Batch(*(jnp.asarray(generator.uniform(-0.6, 0.6, shape)) for shape in shapes))

    def loss(**options) -> float:
        weights = weights_of(PointsOptions(points_method=method, **options))
        return float(LOSSES[method].terms(network_field(layers, "sine"), batch, weights)["loss"])

    usual = loss(use_normals=True)
    for name in ("eikonal_weight", "area_weight", "surface_weight", "body_weight", "normal_weight"):
        changed = loss(**{"use_normals": True, name: OTHERS[name]})
        assert (changed != usual) == (name in METHODS[method].reads), name
    assert weights_of(PointsOptions(points_method=method, distance="closest")).distance == "closest"
    assert (loss() != usual) == ("use_normals" in METHODS[method].reads)

"""The latent network: its encoding and slopes, and a space as a file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmb.fields.field import evaluated
from fmb.fields.latent import LatentShape, Space, encode, latent_field, layer_sizes, start_latent
from fmb.files.spaces import SPACE, read_space, write_space
from fmb.geometry.frames import Frame

SHAPE = LatentShape(code=3, width=8, depth=4, skip=2, frequencies=3, activation="sine", output="tanh")
POINTS = np.random.default_rng(0).uniform(-0.6, 0.6, (40, 3))


def space(shape: LatentShape = SHAPE) -> Space:
    generator = np.random.default_rng(1)
    frames = tuple(Frame(generator.normal(size=3), np.asarray(scale)) for scale in (1.0, 2.5))
    return Space(("spot", "bob"), generator.normal(size=(2, 3)), start_latent(shape, generator), shape, frames)


def test_encoding_has_every_octave():
    found = np.asarray(encode(jnp.asarray(POINTS), 5))
    angles = [2.0**octave * np.pi * POINTS for octave in range(5)]
    expected = np.concatenate([part for angle in angles for part in (np.cos(angle), np.sin(angle))], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("activation", ["sine", "softplus", "elu"])
def test_slopes_of_code_and_point_are_finite_differences(activation):
    made = space(SHAPE._replace(activation=activation))

    def value(code, points):
        return jnp.sum(jnp.sin(latent_field(made.parameters, code, made.shape)(points)))

    code, points, step = jnp.asarray(made.codes[0]), jnp.asarray(POINTS[:4]), 1e-6
    slopes = jax.grad(value, (0, 1))(code, points)
    for place, slope in enumerate(slopes):
        along = np.random.default_rng(place).normal(size=slope.shape)
        ends = []
        for sign in (1.0, -1.0):
            moved = [code, points]
            moved[place] = moved[place] + sign * step * along
            ends.append(float(value(*moved)))
        np.testing.assert_allclose(np.sum(np.asarray(slope) * along), (ends[0] - ends[1]) / (2 * step), rtol=1e-5)


def test_coarse_octaves_come_first():
    weight = np.asarray(start_latent(SHAPE._replace(width=4000), np.random.default_rng(0))[0].weight)
    deviation = weight.std(axis=1)
    np.testing.assert_allclose(deviation[3:9].mean() / deviation[9:15].mean(), 2.0, rtol=0.03)
    np.testing.assert_allclose(deviation[:3].mean() / deviation[3:9].mean(), 1.0, rtol=0.03)
    assert layer_sizes(SHAPE) == [(21, 8), (8, 8), (29, 8), (8, 8), (8, 1)]


def test_a_space_goes_through_its_file(tmp_path):
    made = space()
    (tmp_path / "learn").mkdir()
    write_space(tmp_path / "learn", made)
    for place in (tmp_path, tmp_path / "learn", tmp_path / "learn" / SPACE):
        found = read_space(place)
        assert found.names == made.names
        assert found.shape == made.shape
        np.testing.assert_array_equal(found.codes, made.codes)
        np.testing.assert_array_equal(found.frames[1].centre, made.frames[1].centre)
        np.testing.assert_array_equal(found.frames[1].scale, 2.5)
        values = [evaluated(one.field(one.code_of("bob")), POINTS) for one in (made, found)]
        np.testing.assert_array_equal(*values)
    with pytest.raises(ValueError, match="no shape 'cow' in this space; it has spot, bob"):
        found.code_of("cow")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 9}, "version 9 of a space of shapes; this program reads version 1"),
        ({"names": ["a", "a"]}, "names of shapes must differ"),
        ({"names": "ab"}, "names must be a list of texts"),
        ({"network": {}}, "network must have code, width"),
        ({"network": {**SHAPE._asdict(), "width": 10**9}}, "network width is 1000000000; must be int, at most 4096"),
        ({"network": {**SHAPE._asdict(), "activation": "x"}}, "network activation is 'x'; must be one of softplus"),
        ({"network": {**SHAPE._asdict(), "width": 9}}, r"0.weight of shape \(21, 8\); numbers of shape \(21, 9\)"),
        ({"names": ["a", "b", "c"]}, r"codes of shape \(2, 3\); numbers of shape \(3, 3\) are needed"),
        ({"scale": np.zeros(2)}, "scale 0; must be above 0"),
        ({"codes": np.full((2, 3), np.nan)}, "codes has 6 values that are not finite"),
        ({"metadata": np.zeros(2)}, "no metadata; this is no space of shapes"),
    ],
)
def test_spaces_that_are_none(tmp_path, change, words):
    path = write_space(tmp_path, space())
    arrays = dict(np.load(path))
    facts = json.loads(str(arrays["metadata"]))
    for name, value in change.items():
        (arrays if isinstance(value, np.ndarray) else facts)[name] = value
    if "metadata" not in change:
        arrays["metadata"] = np.array(json.dumps(facts))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=words):
        read_space(tmp_path)


def test_a_folder_without_a_space(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no space.npz in it; a folder that task learn has written"):
        read_space(tmp_path)

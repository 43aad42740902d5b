"""The encoder's training: the mirror in what it says, the comb, going on bit for bit; slow: eight images by heart."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fm_render import Cameras
from fmb.geometry.cameras import pixel_rays
from fmb.single_view.cameras import CameraLabels, cameras_of, mirrored_labels, mirrored_where
from fmb.single_view.evaluation import evaluate, summary
from fmb.single_view.layout import layout_of
from fmb.single_view.network import Encoder, Output, grown, start_encoder
from fmb.single_view.options import EncoderOptions
from fmb.single_view.prediction import look_at_images, shapes_seen_from
from fmb.single_view.recipe import Hooks, State, camera_terms, check_finite, combed, compile_step, lesson_of, train
from fmb.single_view.sights import BYTE, Collection, chosen, family_sights, random_poses

SMALL = EncoderOptions(
    encoder_size=32, encoder_width=4, encoder_features=12, encoder_components=4, encoder_batch=2, encoder_steps=3,
    mean_shapes=2, camera_hypotheses=2, encoder_alignments=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def collection() -> Collection:
    return family_sights(("car", "chair"), range(2), 2, 32, 0)


@pytest.fixture(scope="module")
def states(collection: Collection) -> list[State]:
    """All that a training of three steps keeps."""
    kept: list[State] = []
    train(collection.sights, SMALL, layout_of(SMALL), np.random.default_rng(0), Hooks(save=kept.append))
    return kept


@pytest.mark.slow
def test_a_training_goes_on_bit_for_bit(collection: Collection, states: list[State], monkeypatch):
    monkeypatch.setattr("fmb.single_view.recipe.CHUNK", 1)
    monkeypatch.setattr("fmb.single_view.recipe.SAVES", 1)
    offered: list[Callable[[], State]] = []
    layout = layout_of(SMALL)
    train(collection.sights, SMALL, layout, np.random.default_rng(0), Hooks(offer=offered.append))
    begun = offered[1]()  # made when the training is over, as at a signal, it is still the state of then
    assert begun.step == 2 and len(begun.history["loss"]) == 2
    later: list[State] = []
    train(collection.sights, SMALL, layout, np.random.default_rng(0), Hooks(save=later.append, begun=begun.arrays))
    assert states[-1].step == later[-1].step == 3 and states[0].step == 0
    for name, array in states[-1].arrays.items():
        np.testing.assert_array_equal(array, later[-1].arrays[name])
    assert np.isfinite(states[-1].history["loss"]).all() and states[-1].history["learning_rate"].shape == (3,)


def awake(encoder: Encoder, generator: np.random.Generator) -> Encoder:
    """The encoder with alignments that do something."""
    return encoder._replace(
        known=jax.tree.map(lambda x: jnp.asarray(generator.normal(size=x.shape)), encoder.known),
        align=jax.tree.map(lambda x: jnp.asarray(0.1 * generator.normal(size=x.shape)), encoder.align),
    )


def test_a_mirrored_image_has_the_same_shape_and_the_mirrored_cameras():
    layout = layout_of(SMALL)
    generator = np.random.default_rng(2)
    encoder = awake(start_encoder(layout, np.random.default_rng(1)), generator)
    color, silhouette = generator.uniform(size=(1, 32, 32, 3)), generator.uniform(size=(1, 32, 32)) > 0.5
    here = look_at_images(encoder, layout, color, silhouette)
    there = look_at_images(encoder, layout, color[:, :, ::-1], silhouette[:, :, ::-1])
    cameras = cameras_of(here.quaternion[0], here.place[0], 32)
    mirrored = mirrored_where(jnp.ones(4, bool), jax.tree.map(jnp.asarray, cameras), 32)
    one, other = (
        shapes_seen_from(encoder, layout, looked, jax.tree.map(lambda field: field[None], camera))
        for looked, camera in ((here, cameras), (there, mirrored))
    )
    np.testing.assert_allclose(other, one, atol=1e-12)
    assert np.abs(one[0, 0] - one[0, 1]).max() > 0.01, "another camera, another shape"
    swapped = mirrored_labels(CameraLabels(there.quaternion[0], there.place[0]))
    order = [2, 3, 0, 1]  # those of the image, then those of its mirror image
    np.testing.assert_allclose(swapped.quaternion[order], here.quaternion[0], atol=1e-12)
    np.testing.assert_allclose(swapped.place[order], here.place[0], atol=1e-12)
    assert here.assignment.sum() == pytest.approx(1.0)
    assert np.exp(here.score).sum() == pytest.approx(1.0), "all cameras share one probability"


def test_an_encoder_grows_without_a_change():
    few, layout = layout_of(replace(SMALL, encoder_alignments=0)), layout_of(SMALL)
    encoder, color = start_encoder(few, np.random.default_rng(1)), np.full((1, 32, 32, 3), 0.3)
    more = grown(encoder, layout, np.random.default_rng(3))
    assert len(more.align) == 1
    again = grown(more, layout, np.random.default_rng(4))
    jax.tree.map(np.testing.assert_array_equal, again, more)  # nothing is missing, so nothing is drawn anew
    cameras = Cameras(random_poses(np.random.default_rng(0), 1)[None], np.diag([60.0, 60.0, 1.0])[None, None])
    silhouette = np.ones((1, 32, 32), bool)
    one, other = (
        shapes_seen_from(net, size, look_at_images(net, size, color, silhouette), cameras)
        for net, size in ((encoder, few), (more, layout))
    )
    np.testing.assert_array_equal(one, other)


def test_a_comb_is_every_second_pixel(collection: Collection):
    pair = jax.tree.map(lambda field: jnp.asarray(field[:2][None]), collection.sights)
    cameras, (silhouette, _, _, color) = jax.jit(combed, static_argnums=2)(pair, jnp.array([1, 0]), jnp.float64)
    whole = Cameras(*(np.asarray(x[:2], float) for x in collection.sights[4:6]))
    full = pixel_rays(whole, 32, 32).direction
    part = pixel_rays(jax.tree.map(lambda field: field[0], cameras), 16, 16).direction
    np.testing.assert_allclose(part, full[:, 1::2, ::2], atol=1e-9)
    np.testing.assert_array_equal(silhouette[0], collection.sights.silhouette[:2, 1::2, ::2])
    np.testing.assert_allclose(color[0], collection.sights.color[:2, 1::2, ::2] / BYTE)


def test_the_best_hypothesis_counts():
    turned = np.array([np.cos(0.2), np.sin(0.2), 0.0, 0.0])  # by 0.4 radians
    quaternion = jnp.asarray([[turned, [0.0, 1.0, 0.0, 0.0]]])
    output = Output(jnp.ones((1, 1)), quaternion, jnp.zeros((1, 2)), jnp.zeros((1, 3)), jnp.zeros((1, 4)), ())
    terms = camera_terms(output, jnp.asarray([[1.0, 0.0, 0.0, 0.0]]), jnp.full((1, 3), 2.0))
    best = np.sin(0.2) ** 2
    assert terms["turn"] == pytest.approx(0.95 * best + 0.05 * (best + 1.0) / 2.0)
    assert terms["score"] == pytest.approx(np.log(2.0)) and terms["place"] == pytest.approx(4.0)


def test_what_cannot_be_learnt_from_is_refused(collection: Collection):
    layout = layout_of(SMALL)
    with pytest.raises(ValueError, match="shape 0 has one view"):
        lesson_of(chosen(collection.sights, np.array([0, 2, 3])))
    with pytest.raises(ValueError, match="images of 32 pixels; encoder_size is 16"):
        train(collection.sights, SMALL, layout._replace(size=16), np.random.default_rng(0))
    with pytest.raises(ValueError, match="fit_devices is 4000; must be at most"):
        compile_step(SMALL, layout, 4000)
    with pytest.raises(ValueError, match="encoder_size is 40; must be a multiple of 16"):
        layout_of(replace(SMALL, encoder_size=40))
    with pytest.raises(FloatingPointError, match="not finite at step 11"):
        check_finite(np.array([0.0, np.nan]), start_encoder(layout, np.random.default_rng(0)), 10)
    broken = jax.tree.map(lambda leaf: leaf * np.nan, start_encoder(layout, np.random.default_rng(0)))
    with pytest.raises(FloatingPointError, match="not finite at step 12"):  # the weights after the last step
        check_finite(np.zeros(2), broken, 10)


@pytest.mark.slow
def test_two_devices_learn_what_one_learns():
    here = Path(__file__).with_name("devices.py")
    quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONPATH": str(here.parents[2])}
    done = subprocess.run(
        [sys.executable, str(here)], env=os.environ | quick, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines())}
    assert float(found["APART"][0]) < 1e-8, "all terms of three steps, so two updates: sums of two parts"
    assert " ".join(found["REFUSED"]) == "encoder_batch is 3; must be a multiple of fit_devices, 2"
    assert len(found["LOSS"]) == 3 and np.isfinite(np.array(found["LOSS"], float)).all()


@pytest.mark.slow
def test_eight_images_are_learnt_by_heart():
    found = family_sights(("animal", "car", "chair", "plane"), range(2), 2, 32, 1)
    options = EncoderOptions(
        encoder_size=32, encoder_width=12, encoder_components=24, encoder_steps=2500, encoder_batch=8,
        encoder_rate=2e-3, encoder_color_weight=0.1, encoder_depth_weight=0.1, deformation_weight=0.0,
    )  # fmt: skip
    layout = layout_of(options)
    encoder = train(found.sights, options, layout, np.random.default_rng(0))
    measured = evaluate(encoder, layout, found)
    assert measured.input_iou.mean() >= 0.97 and summary(measured)["rotation_degrees"] < 5.0

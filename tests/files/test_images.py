"""Pixels: what counts as silhouette, what a block of pixels becomes, and PNG files that end too early."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fmb.files.images import (
    DepthFile,
    all_blocks,
    block_side,
    color_of,
    mean_blocks,
    median_blocks,
    peak_of,
    read_depth,
    shrunk_intrinsics,
    silhouette_of,
)
from fmb.geometry.cameras import Cameras, pixel_rays

GREY = np.array([[0, 51, 255], [128, 7, 1]], np.uint8)


def image_cases() -> dict[str, tuple[Image.Image, np.ndarray]]:
    """Masks as tools write them, and the silhouettes in them."""
    share = GREY / 255.0
    hard = (GREY > 60).astype(float)
    color = np.zeros((2, 3, 3), np.uint8)
    color[0, 2], color[1, 0] = (128, 0, 0), (0, 128, 0)  # two instances in DAVIS's colours
    palette = Image.fromarray((GREY > 60).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    opaque = np.concatenate([np.repeat(GREY[..., None], 3, -1), np.full((2, 3, 1), 255, np.uint8)], axis=-1)
    transparent = np.concatenate([np.full((2, 3, 3), 9, np.uint8), GREY[..., None]], axis=-1)
    jpeg = np.stack([GREY, np.minimum(GREY, 253) + 1, GREY], axis=-1)
    return {
        "grey": (Image.fromarray(GREY), share),
        "one bit": (Image.fromarray(GREY > 60), hard),
        "0 and 1": (Image.fromarray((GREY > 60).astype(np.uint8)), hard),
        "grey of three channels": (Image.fromarray(np.repeat(GREY[..., None], 3, -1)), share),
        "nearly grey": (Image.fromarray(jpeg), jpeg.max(axis=-1) / 255.0),
        "colours": (Image.fromarray(color), hard),
        "palette": (palette, hard),
        "alpha": (Image.fromarray(transparent), share),
        "opaque": (Image.fromarray(opaque), share),
        "16 bits that hold 8": (Image.fromarray(GREY.astype(np.uint16)), share),
        "16 bits": (Image.fromarray(GREY.astype(np.uint16) * 257), share),
        "floats": (
            Image.fromarray(np.where(GREY == 7, np.nan, share).astype(np.float32)),
            np.where(GREY == 7, 0, share),
        ),
    }


@pytest.mark.parametrize("case", image_cases())
def test_silhouettes_of_all_kinds_of_masks(case):
    image, expected = image_cases()[case]
    np.testing.assert_allclose(silhouette_of(image), expected, atol=1e-7)


def test_numbers_in_masks_mean_what_they_mean_in_the_whole_set():
    faint = Image.fromarray(np.array([[0, 1]], np.uint8))
    np.testing.assert_allclose(silhouette_of(faint, peak=255), [[0.0, 1 / 255]])
    np.testing.assert_array_equal(silhouette_of(faint, peak=1), [[0.0, 1.0]])
    labels = Image.fromarray(np.array([[0, 1, 3]], np.uint8))
    np.testing.assert_array_equal(silhouette_of(labels, peak=3), [[0.0, 1.0, 1.0]])
    wide = Image.fromarray(np.array([[0, 255]], np.uint16))
    np.testing.assert_allclose(silhouette_of(wide, peak=65535), [[0.0, 255 / 65535]])
    np.testing.assert_array_equal(silhouette_of(wide, peak=1), [[0.0, 1.0]])
    assert [peak_of(image) for image in (faint, labels, wide)] == [(1, True), (3, False), (255, True)]


def test_colours_of_grey_images():
    np.testing.assert_allclose(color_of(Image.fromarray(GREY)), np.repeat(GREY[..., None], 3, -1) / 255.0, atol=1e-7)
    wide = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_allclose(color_of(wide), color_of(Image.fromarray(GREY)), atol=1e-7)


@settings(deadline=None)
@given(longest=st.integers(1, 5000), wanted=st.integers(1, 5000))
def test_the_least_number_that_gets_there(longest, wanted):
    side = block_side(longest, wanted)
    assert longest // side <= wanted
    assert side == 1 or longest // (side - 1) > wanted
    assert block_side(longest, 0) == 1


@settings(deadline=None)
@given(height=st.integers(3, 9), width=st.integers(3, 9), side=st.integers(1, 3), seed=st.integers(0, 99))
def test_blocks_against_loops(height, width, side, seed):
    generator = np.random.default_rng(seed)
    pixels = generator.uniform(size=(height, width, 2)).astype(np.float32)
    weight = generator.integers(0, 2, (height, width)).astype(np.float32)
    depth = np.where(generator.uniform(size=(height, width)) < 0.5, np.nan, generator.uniform(1, 2, (height, width)))
    rows, columns = height // side, width // side
    results = (
        mean_blocks(pixels, side),
        mean_blocks(pixels, side, weight),
        all_blocks(weight > 0.0, side),
        median_blocks(depth, side),
    )
    assert all(result.shape[:2] == (rows, columns) for result in results)
    for row, column in np.ndindex(rows, columns):
        here = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        block, shares, known = pixels[here].reshape(-1, 2), weight[here].ravel(), depth[here][np.isfinite(depth[here])]
        mean = block.mean(axis=0)
        weighted = shares @ block / shares.sum() if side > 1 and shares.sum() > 0 else mean
        expected = (mean, weighted, shares.all(), np.sort(known)[(len(known) - 1) // 2] if len(known) else np.nan)
        for result, value in zip(results, expected, strict=True):
            np.testing.assert_allclose(result[row, column], value, rtol=1e-5)


@pytest.mark.parametrize("side", [2, 3, 5])
def test_a_block_is_seen_along_the_mean_of_its_rays(side):
    """The pixel rule: the ray of a block is the mean of the rays of its pixels, all of unit depth."""
    intrinsics = np.array([[33.0, 0.4, 7.3], [0.0, 31.0, 8.9], [0.0, 0.0, 1.0]])
    pose = np.eye(4)[None]
    fine = pixel_rays(Cameras(pose, intrinsics[None]), 3 * side, 4 * side).direction
    coarse = pixel_rays(Cameras(pose, shrunk_intrinsics(intrinsics, side)[None]), 3, 4).direction
    blocks = np.asarray(fine).reshape(3, side, 4, side, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(coarse[0], blocks, atol=1e-12)


def test_depth_maps(tmp_path):
    stored = np.array([[0, 1000, 65534, 65535]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "z.png")
    np.testing.assert_allclose(
        read_depth(DepthFile(tmp_path / "z.png", 0.001)), [[np.nan, 1.0, 65.534, np.nan]], rtol=1e-6
    )
    halves = np.array([[1.5, np.inf, -2.0, np.nan, 0.0, 0.25]], np.float16)
    Image.fromarray(halves.view(np.uint16)).save(tmp_path / "h.png")
    expected = [[3.0, np.nan, np.nan, np.nan, np.nan, 0.5]]
    np.testing.assert_array_equal(read_depth(DepthFile(tmp_path / "h.png", 2.0, half=True)), expected)
    Image.fromarray(np.array([[0, 255, 255, 255, 255, 255]], np.uint8)).save(tmp_path / "m.png")
    masked = read_depth(DepthFile(tmp_path / "h.png", 2.0, half=True, mask=tmp_path / "m.png"))
    np.testing.assert_array_equal(masked, [[np.nan] * 5 + [0.5]])

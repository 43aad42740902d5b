"""What the pictures show, before a line of them is drawn."""

import matplotlib
import numpy as np
import pytest

from fmb.pictures import sheets
from fmb.pictures.sheets import Scale


def test_paint_is_the_colour_map():
    table = matplotlib.colormaps["viridis"]
    values = np.array([[2.0, 2.5, 3.0], [1.0, 9.0, np.nan]])
    painted = sheets.paint(values, Scale("viridis", (2.0, 3.0), "depth"))
    expected = [table(place, bytes=True)[:3] for place in (0, 128, 255, 0, 255)]
    expected.append(bytes.fromhex(sheets.NO_DATA[1:]))
    np.testing.assert_array_equal(painted.reshape(6, 3), np.array([list(color) for color in expected]))


def test_overlay_tells_missing_from_extra():
    reference, final = np.zeros((2, 1, 4)), np.zeros((2, 1, 4))
    reference[0, 0, :2] = 1.0
    final[0, 0, 1:3] = 0.9
    sheet = sheets.overlay_sheet(reference, final)
    step = sheet.tiles.shape[2] // 4
    colors = ["#" + bytes(color).hex() for color in sheet.tiles[0, 0, ::step]]
    assert colors == [sheets.ORANGE, sheets.AGREE, sheets.BLUE, sheets.NOTHING]
    # One pixel in both of three in either; two empty masks agree.
    assert list(sheet.labels) == ["0   0.333", "1   1.000"]
    assert "0.6667" not in sheet.note  # the IoU of all pixels, which a run tells, is 0.25


def test_depth_difference_is_fit_minus_reference():
    reference = np.array([[[2.0, 3.0, np.nan, 2.0]]])
    final = np.array([[[2.5, 2.5, 2.0, np.nan]]])
    scale = sheets.depth_scale([reference, final], "m")
    sheet = sheets.depth_sheet(reference, final, scale, "m")
    assert (scale.limits, scale.extend, scale.label) == ((2.0, 3.0), "neither", "depth (m)")
    step = (sheet.tiles.shape[2] - 2 * sheets.SEAM) // 12
    farther, nearer, extra, missing = sheet.tiles[0, 0, -4 * step :: step].astype(int)
    assert farther[0] > farther[2] + 50, "red where the fit lies behind"
    assert nearer[2] > nearer[0] + 50, "blue where the fit lies in front"
    assert (extra == missing).all()
    assert "mean size 0.5 m" in sheet.note
    assert [s.label for s in sheet.scales] == ["depth (m)", "fit minus reference (m)"]


def test_depth_scale_without_a_range():
    nothing = np.full((1, 1, 2), np.nan)
    assert sheets.depth_scale([None, nothing], "m").limits == (0.0, 1.0)
    assert sheets.depth_scale([nothing, np.full((1, 1, 2), 2.0)], "m").limits == (1.98, 2.02)
    assert sheets.depth_scale([np.zeros((1, 1, 2))], "m").limits == (-1.0, 1.0)
    reference, wide = np.array([[[1.0, 2.0]]]), np.array([[[0.0, 3.0]]])
    assert sheets.depth_scale([reference, wide], "m").extend == "both"
    empty = sheets.depth_sheet(nothing, nothing, Scale("viridis", (0.0, 1.0), "depth (m)"), "m")
    assert empty.note.endswith("no pixel in common")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 20, 31, 50, 100, 1000])
def test_grid_has_room_for_all_and_no_empty_row(count):
    for height, width in ((64, 64), (64, 192), (96, 48)):
        columns = sheets.grid_columns(count, height, width)
        rows = -(-count // columns)
        assert columns * rows >= count > columns * (rows - 1)


def test_large_views_are_thinned():
    tiles = np.arange(20 * 400 * 600 * 3).reshape(20, 400, 600, 3).astype(np.uint8)
    fitted = sheets.fit_tiles(tiles)
    step = -(-400 // fitted.shape[1])
    assert step == 3
    assert fitted.shape[2] <= sheets.LARGEST_TILE
    np.testing.assert_array_equal(fitted, tiles[:, ::step, ::step])


def test_moving_mean_against_plain_loops():
    values = np.random.default_rng(0).normal(size=430)
    expected = [values[max(i - 4, 0) : i + 5].mean() for i in range(430)]
    np.testing.assert_allclose(sheets.moving_mean(values), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(sheets.moving_mean(values[:50]), values[:50], rtol=0, atol=1e-13)

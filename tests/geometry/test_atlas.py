"""Textures: faces and shares of their pixels, what lies between the parts, and the library's map of a surface."""

import sys

import numpy as np
import pytest
import trimesh

from fmb.geometry.atlas import Atlas, on_surface, spread, texels_of, textured, unwrap, xatlas_module

SQUARE = trimesh.Trimesh([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
FLAT = Atlas(np.arange(4), np.asarray(SQUARE.faces), np.asarray(SQUARE.vertices)[:, :2] / 4.0 + 0.25)


def test_pixels_know_where_on_the_surface_they_lie():
    texels = texels_of(FLAT, 16)
    place = on_surface(np.asarray(SQUARE.vertices, float), SQUARE, texels)
    u, v = (texels.column + 0.5) / 16, 1.0 - (texels.row + 0.5) / 16
    inner = (np.abs(u - 0.5) < 0.25) & (np.abs(v - 0.5) < 0.25)
    assert inner.sum() == 64 and len(set(texels.face)) == 2
    np.testing.assert_allclose(place[inner, :2], 4.0 * (np.stack([u, v], axis=1)[inner] - 0.25), atol=1e-12)
    np.testing.assert_allclose(texels.share.sum(axis=1), 1.0)


def test_unknown_pixels_are_like_the_nearest():
    image, known = np.arange(12.0).reshape(3, 4, 1), np.zeros((3, 4), bool)
    np.testing.assert_array_equal(spread(image, known), image)
    known[0, 0] = known[2, 3] = True
    found = spread(image, known)[..., 0]
    assert found[0, 1] == 0.0 and found[1, 3] == found[2, 2] == 11.0


def test_a_surface_is_mapped_and_coloured():
    pytest.importorskip("xatlas", reason="the extra `texture`")
    mesh, side = trimesh.creation.icosphere(subdivisions=2), 96
    atlas = unwrap(mesh, side)
    np.testing.assert_allclose(np.asarray(mesh.vertices)[atlas.vertex][atlas.face], mesh.triangles)
    assert atlas.place.min() >= 0.0 and atlas.place.max() <= 1.0
    texels, known = texels_of(atlas, side), np.zeros((side, side), bool)
    place, image = on_surface(np.asarray(mesh.vertices, float), mesh, texels), np.zeros((side, side, 3))
    image[texels.row, texels.column], known[texels.row, texels.column] = 0.5 + 0.5 * place, True
    found = textured(mesh, atlas, spread(image, known))
    color = found.visual.to_color().vertex_colors[:, :3] / 255.0
    np.testing.assert_allclose(color, 0.5 + 0.5 * np.asarray(found.vertices), atol=0.06)


def test_the_library_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(ValueError, match="needs the package xatlas: pip install xatlas"):
        xatlas_module()

"""Distances between surfaces: against brute force, and where a closed form is known."""

import json

import numpy as np
import pytest
import trimesh
from trimesh.triangles import closest_point

from fmb.geometry.cloud import Cloud
from fmb.geometry.comparison import THRESHOLD, compare, compared, topology, voxel_iou, with_worst, worst_pairs
from fmb.geometry.distances import cut, distance_to, nearest_on


def sphere(radius, offset=(0.0, 0.0, 0.0), subdivisions=4):
    mesh = trimesh.creation.icosphere(subdivisions, radius)
    return mesh.apply_translation(offset)


def test_nearest_points_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr("fmb.geometry.distances.AT_ONCE", 3_000)  # several parts
    generator = np.random.default_rng(0)
    corners, faces = [[0, 0, 0], [3, 0, 0], [3, 1e-3, 0], [0, 0, 2]], [[0, 1, 2], [0, 2, 3], [1, 1, 2]]
    slivers = trimesh.Trimesh(corners, faces, process=False)
    for mesh in (slivers, trimesh.creation.torus(1.0, 0.3), trimesh.Trimesh(*random_soup(generator), process=False)):
        points = generator.normal(size=(200, 3))
        pieces = cut(mesh)
        found = nearest_on(pieces, points)
        with np.errstate(invalid="ignore"):  # the triangle without area
            on = [closest_point(mesh.triangles, np.tile(point, (len(mesh.faces), 1))) for point in points]
        away = [np.linalg.norm(places - point, axis=1) for places, point in zip(on, points, strict=True)]
        assert found.distance == pytest.approx([np.nanmin(d) for d in away], abs=1e-12)
        assert [d[face] for d, face in zip(away, found.face, strict=True)] == pytest.approx(found.distance, abs=1e-12)
        assert np.linalg.norm(found.point - points, axis=1) == pytest.approx(found.distance, abs=1e-12)


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e6])
def test_distances_keep_the_unit(size):
    mesh, points = sphere(1.0), np.random.default_rng(0).normal(size=(200, 3))
    scaled = trimesh.Trimesh(size * mesh.vertices, mesh.faces, process=False)
    assert distance_to(scaled, size * points) == pytest.approx(size * distance_to(mesh, points), rel=1e-9)


def random_soup(generator):
    return generator.normal(size=(90, 3)), np.arange(90).reshape(30, 3)


def test_two_spheres():
    mesh, reference = sphere(1.1), sphere(1.0)
    record = compare(mesh, reference, count=4_000, seed=3, threshold=0.06)
    json.dumps(record, allow_nan=False)
    exact, floor = record["exact"], record["floor"]
    # longest side 2; facets of the spheres lie up to 0.0009 within them
    assert record["unit"] == pytest.approx(2.0, abs=1e-9)
    for name in ("chamfer", "from_reference", "to_reference", "hausdorff"):
        assert exact[name] == pytest.approx(0.05, abs=1e-3)
    assert exact["squared"] == pytest.approx(0.05**2, rel=0.03)
    assert exact["normal_degrees"] < 2.0 and exact["f_score"] == 1.0
    assert compare(mesh, reference, count=100, threshold=0.04)["exact"]["f_score"] == 0.0
    assert record["voxel_iou"] == pytest.approx(1.1**-3, rel=0.01)
    assert (record["euler"], record["components"], record["watertight"]) == (2, 1, True)
    assert (record["samples"], record["seed"], record["threshold"]) == (4_000, 3, 0.06)
    # uniform points of density d have their nearest neighbour at 1 / (2 sqrt(d)) in the mean; these are more even
    expected = 0.5 / np.sqrt(4_000 / np.pi)
    assert 0.9 * expected < floor["chamfer"] < 1.3 * expected
    assert record["sampled"]["chamfer"] > exact["chamfer"]


def test_a_surface_has_no_distance_from_itself_even_inside_out():
    mesh = trimesh.creation.torus(1.0, 0.3)
    turned = trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)
    record = compare(turned, mesh, count=500)
    assert record["exact"]["hausdorff"] < 1e-9 and record["voxel_iou"] > 0.99 and record["euler"] == 0
    assert record["exact"]["normal_degrees"] < 1e-3


def test_shifted_boxes():
    box, other = (trimesh.creation.box((2.0, 1.0, 1.0)).apply_translation((x, 0, 0)) for x in (0.0, 0.5))
    assert voxel_iou(other, box) == pytest.approx(0.6, abs=0.02)  # 1.5 of 2.5
    assert distance_to(other, np.array([[-1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])) == pytest.approx([0.5, 0.5])
    exact = compare(other, box, count=4_000, unit=1.0)["exact"]
    # on each the face beyond the other, 1 of 10, is 0.5 away, and four strips reach to 0, 0.25 in the mean
    assert exact["hausdorff"] == pytest.approx(0.5, abs=1e-9)
    inner = inner_distance()
    assert exact["chamfer"] == pytest.approx((0.5 + 2.0 * 0.25 + inner) / 10.0, rel=0.05)
    two = trimesh.util.concatenate([box, sphere(1.0, (9.0, 0.0, 0.0))])
    assert topology(two) == {"euler": 4, "components": 2, "watertight": True}
    soup = trimesh.Trimesh(box.triangles.reshape(-1, 3), np.arange(36).reshape(12, 3), process=False)
    assert topology(soup) == {"euler": 2, "components": 1, "watertight": True}
    pinched = sphere(1.0)
    pinched.vertices[pinched.faces[0]] = pinched.vertices[pinched.faces[0]].mean(axis=0)
    assert topology(pinched) == {"euler": 2, "components": 1, "watertight": True}


def inner_distance():
    """Integral, over the face of one box within the other, of the distance to the nearest of the walls around it."""
    across = (np.arange(400) + 0.5) / 400
    wall = np.minimum(across, 1.0 - across)
    return np.minimum(np.minimum(wall[:, None], wall), 0.5).mean()


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r"another frame: the centres are 4 sizes apart, at most 3"):
        compare(sphere(1.0, (8.0, 0.0, 0.0)), sphere(1.0))
    with pytest.raises(ValueError, match=r"another unit: the sizes are 40 and 2, at most 10 times"):
        compare(sphere(20.0), sphere(1.0))
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False)
    with pytest.raises(ValueError, match="a mesh without area"):
        cut(flat)
    with pytest.raises(ValueError, match="a mesh without faces"):
        compare(trimesh.Trimesh(), sphere(1.0))


def test_means_and_maxima_of_both_directions():
    mesh, reference = sphere(1.0), trimesh.util.concatenate([sphere(1.0), sphere(0.2, (0.0, 0.0, 3.0))])
    exact = compare(mesh, reference, count=2_000)["exact"]
    assert exact["farthest_to_reference"] < 1e-9 < exact["to_reference"] + 1e-9
    assert (
        exact["max_mean"]
        == max(exact["from_reference"], exact["to_reference"])
        == pytest.approx(2 * exact["chamfer"], rel=1e-6)
    )
    size = np.ptp(reference.bounds, axis=0).max()
    assert exact["hausdorff"] == exact["farthest_from_reference"] == pytest.approx(2.2 / size, rel=0.01)


def test_worst_points_are_found_where_samples_miss_them():
    mesh = sphere(1.0, subdivisions=3)
    mesh.vertices[100] *= 3.0
    spike, reference = mesh.vertices[100], sphere(1.0, subdivisions=3)
    found = compared(mesh, reference, 50, 0, None, THRESHOLD)
    back, there = worst_pairs(found, mesh, reference)
    np.testing.assert_allclose(back.start, spike)
    np.testing.assert_allclose(back.end, spike / 3.0, atol=1e-6)
    record = with_worst(found.record, back, there)
    assert record["exact"]["hausdorff"] == back.distance / record["unit"] == pytest.approx(1.0)
    assert found.record["exact"]["hausdorff"] < 1.0


def test_clouds_are_compared_by_their_points():
    ball, generator = sphere(1.0), np.random.default_rng(0)
    point = generator.normal(size=(3_000, 3))
    point /= np.linalg.norm(point, axis=1, keepdims=True)
    record = compare(Cloud(1.1 * point, point), ball, count=5_000)
    json.dumps(record, allow_nan=False)
    assert record["exact"]["to_reference"] == pytest.approx(0.05, abs=1e-3) and record["exact"]["normal_degrees"] < 4.0
    assert "voxel_iou" not in record and "euler" not in record and record["reference"]["euler"] == 2
    bare = compare(Cloud(1.1 * point), Cloud(point), count=5_000)
    assert bare["exact"] == bare["sampled"] and bare["exact"]["chamfer"] == pytest.approx(0.05, rel=1e-3)
    assert "normal_degrees" not in bare["exact"] and 0.0 < bare["floor"]["chamfer"] < 0.05

"""Families of shapes: numbers drawn from ranges -> parts -> a closed, painted mesh with the mirror plane x = 0.

All have y up and z forward. `FAMILIES` says what numbers a family has, between which limits, and what parts they make.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import trimesh

from fmb.geometry.frames import Frame
from fmb.single_view.sculpture import CELLS, Part, ball, box, disc, painted, plate, sculpt, tube

Numbers = Mapping[str, float]


class Family(NamedTuple):
    """The limits of each number, and the parts that the numbers make."""

    limits: Mapping[str, tuple[float, float]]
    parts: Callable[[Numbers], list[Part]]


def animal(n: Numbers) -> list[Part]:
    """A standing quadruped."""
    radius, length = n["girth"], n["length"]
    height = n["leg"] + 0.5 * radius
    chest, rump = length / 2, -length / 2
    parts = [Part(tube((0, height, rump), (0, height, chest), (n["rump"] * radius, radius)), "main")]
    for z, lean in ((0.9 * chest, 0.05), (0.95 * rump, -0.06)):
        knee = (0.62 * radius, 0.5 * height, z + lean)
        parts.append(Part(tube((0.55 * radius, height, z), knee, (1.7 * n["thin"], n["thin"])), "main", 0.08))
        parts.append(Part(tube(knee, (0.62 * radius, 0.0, z), (n["thin"], 0.9 * n["thin"])), "dark", 0.02))
    turn = np.deg2rad(n["neck_angle"])
    neck = np.array([0.0, height + 0.3 * radius, chest])
    poll = neck + n["neck"] * np.array([0.0, np.sin(turn), np.cos(turn)])
    head = n["head"]
    parts.append(Part(tube(neck, poll, (0.62 * radius, 0.55 * head)), "main", 0.12))
    nose = poll + 1.7 * head * np.array([0.0, -0.35, 1.0])
    parts.append(Part(tube(poll, nose, (0.6 * head, 0.33 * head)), "main", 0.05))
    ear = poll + np.array([0.45 * head, 0.45 * head, -0.1 * head])
    parts.append(Part(tube(ear, ear + n["ear"] * np.array([0.7, 0.7, -0.2]), (0.05, 0.03)), "second", 0.03))
    tail, drop = np.array([0.0, height + 0.3 * radius, rump - 0.7 * n["rump"] * radius]), np.deg2rad(n["tail_angle"])
    tip = tail + n["tail"] * np.array([0.0, np.sin(drop), -np.cos(drop)])
    parts.append(Part(tube(tail, tip, (0.06, 0.04)), "second", 0.04))
    if n["horn"] > 0.0:
        base = poll + np.array([0.25 * head, 0.5 * head, 0.1 * head])
        bend = base + n["horn"] * np.array([0.25, 0.9, -0.2])
        parts.append(Part(tube(base, bend, (0.055, 0.045)), "third", 0.02))
        parts.append(Part(tube(bend, bend + n["horn"] * np.array([0.1, 0.1, -0.7]), (0.045, 0.03)), "third", 0.02))
    return parts


def car(n: Numbers) -> list[Part]:
    """A car, from a low coupé to a van."""
    width, length, wheel = n["width"], n["length"], n["wheel"]
    floor = 0.7 * wheel
    belt = floor + 2 * n["body"]
    parts = [Part(box((0, floor + n["body"], 0), (width, n["body"], length), 0.08, 0.06), "main")]
    cabin = (0.9 * width, n["cabin"] / 2 + 0.04, n["cabin_length"] * length)
    middle = (0.0, belt + n["cabin"] / 2 - 0.04, n["cabin_place"] * length)
    parts.append(Part(box(middle, cabin, 0.06, n["cabin_taper"], -0.04), "second", 0.04))
    roof = (0.0, belt + n["cabin"] - 0.03, n["cabin_place"] * length - 0.04)
    top = 1.0 - n["cabin_taper"]
    parts.append(Part(box(roof, (0.9 * width * top, 0.035, cabin[2] * top), 0.03), "main", 0.02))
    for z in (n["wheel_place"] * length, -n["wheel_place"] * length):
        parts.append(Part(disc((0.92 * width, wheel, z), wheel, 0.16 * width + 0.04), "dark"))
    return parts


def chair(n: Numbers) -> list[Part]:
    """A chair with four legs or a foot, with or without arms."""
    width, depth, seat, thick = n["width"], n["depth"], n["seat"], n["thick"]
    parts = [Part(box((0, seat, 0), (width, thick, depth), 0.7 * thick), "main")]
    top = seat + n["back"]
    rear, lean = -depth + 0.8 * n["panel"], -n["lean"]
    half = (width, n["back"] / 2, n["panel"])
    if n["open"] > 0.0:
        parts.append(
            Part(tube((0.85 * width, seat, rear), (0.85 * width, top, rear + lean), (0.06, 0.05)), "second", 0.02)
        )
        rail = (width, 0.22 * n["back"], n["panel"])
        parts.append(Part(box((0, top - rail[1], rear + 0.85 * lean), rail, 0.6 * n["panel"]), "main", 0.02))
    else:
        parts.append(Part(box((0, seat + half[1], rear), half, 0.7 * n["panel"], 0.0, lean), "main", 0.02))
    if n["foot"] > 0.0:
        parts.append(Part(tube((0, seat, 0), (0, 0.06, 0), (0.09, 0.09)), "second", 0.03))
        parts.append(Part(ball((0, 0.04, 0), (0.8 * width, 0.07, 0.8 * depth)), "dark", 0.03))
    else:
        for z, way in ((0.85 * depth, 1.0), (-0.85 * depth, -1.0)):
            ground = (0.85 * width + n["splay"], 0.0, z + way * n["splay"])
            parts.append(Part(tube((0.82 * width, seat, z), ground, (1.1 * n["leg"], n["leg"])), "second", 0.02))
    if n["arm"] > 0.0:
        height = seat + 0.34
        parts.append(Part(tube((width, height, rear), (width, height, 0.75 * depth), (0.055, 0.055)), "second", 0.02))
        parts.append(Part(tube((width, height, 0.7 * depth), (width, seat, 0.6 * depth), (0.05, 0.05)), "second", 0.02))
    return parts


def plane(n: Numbers) -> list[Part]:
    """An aeroplane: an airliner, a glider or a small one."""
    radius = n["radius"]
    parts = [
        Part(tube((0, 0, -0.35), (0, 0, 0.75), (radius, radius)), "main"),
        Part(tube((0, 0.3 * radius, -1.0), (0, 0, -0.35), (0.35 * radius, radius)), "main", 0.05),
        Part(tube((0, 0, 0.75), (0, -0.1 * radius, 0.9), (radius, 0.55 * radius)), "main", 0.05),
    ]
    height, tilt = n["wing_height"] * radius, (n["sweep"], n["dihedral"])
    chords = (n["chord"], n["chord"] * n["tip"])
    parts.append(Part(plate((0, height, n["wing_place"]), n["span"], chords, 0.05, tilt), "second", 0.03))
    tail_chords, tail = (0.24, 0.15), (0.0, 0.3 * radius + n["tee"] * n["fin"], -0.9)
    parts.append(Part(plate(tail, n["tail"], tail_chords, 0.04, (0.3, 0.0)), "second", 0.02))
    fin = (0.0, 0.3 * radius + n["fin"] / 2, -0.88)
    parts.append(Part(box(fin, (0.045, n["fin"] / 2, 0.14), 0.03, 0.35, -0.12), "third", 0.03))
    for engine in range(1, 1 + round(n["engines"])):
        x = 0.33 * engine * n["span"]
        y, z = height + n["dihedral"] * x - 0.09, n["wing_place"] - n["sweep"] * x + n["chord"] / 3
        parts.append(Part(tube((x, y, z - 0.1), (x, y, z + 0.12), (0.06, 0.07)), "dark", 0.02))
    return parts


FAMILIES: dict[str, Family] = {
    "animal": Family(
        {
            "length": (0.6, 1.15), "girth": (0.17, 0.31), "rump": (0.75, 1.05), "leg": (0.3, 0.8),
            "thin": (0.045, 0.085), "neck": (0.15, 0.65), "neck_angle": (20, 80), "head": (0.14, 0.24),
            "ear": (0.05, 0.2), "tail": (0.1, 0.5), "tail_angle": (-75, 40), "horn": (-0.4, 0.4),
        },
        animal,
    ),
    "car": Family(
        {
            "width": (0.36, 0.48), "length": (0.8, 1.1), "body": (0.13, 0.22), "wheel": (0.15, 0.24),
            "wheel_place": (0.5, 0.7), "cabin": (0.16, 0.42), "cabin_length": (0.3, 0.85), "cabin_place": (-0.25, 0.1),
            "cabin_taper": (0.1, 0.4),
        },
        car,
    ),
    "chair": Family(
        {
            "width": (0.34, 0.52), "depth": (0.34, 0.52), "seat": (0.55, 0.9), "thick": (0.05, 0.12),
            "back": (0.5, 1.0), "panel": (0.05, 0.09), "lean": (0.0, 0.25), "leg": (0.045, 0.075), "splay": (0.0, 0.14),
            "open": (-0.7, 0.3), "foot": (-0.8, 0.2), "arm": (-0.5, 0.5),
        },
        chair,
    ),
    "plane": Family(
        {
            "radius": (0.1, 0.17), "span": (0.6, 1.15), "chord": (0.24, 0.45), "tip": (0.35, 0.95), "sweep": (0.0, 0.6),
            "dihedral": (-0.03, 0.14), "wing_height": (-0.6, 0.8), "wing_place": (-0.05, 0.3), "tail": (0.22, 0.42),
            "fin": (0.2, 0.4), "tee": (0.0, 0.9), "engines": (-0.49, 2.49),
        },
        plane,
    ),
}  # fmt: skip
PAINTS = ("main", "second", "third", "dark")
DARKEST, LIGHT_SHARE = 0.15, 0.6  # brightness of dark parts at most; share of the light that may come from one side


def draw_numbers(family: str, generator: np.random.Generator) -> dict[str, float]:
    """The numbers of one shape, even between their limits."""
    return {name: float(generator.uniform(*ends)) for name, ends in FAMILIES[family].limits.items()}


def unit_ball(mesh: trimesh.Trimesh) -> Frame:
    """The frame in which the mesh's box has its middle at 0 and half a diagonal of 1."""
    lower, upper = mesh.bounds
    return Frame((lower + upper) / 2.0, np.asarray(np.linalg.norm(upper - lower) / 2.0))


def shape_mesh(family: str, generator: np.random.Generator, cells: int = CELLS) -> trimesh.Trimesh:
    """One shape of a family, in the unit ball, with random colours, a pattern and a light baked into its vertices."""
    numbers, paint, light = draw_numbers(family, generator), generator.spawn(1)[0], generator.spawn(1)[0]
    parts = FAMILIES[family].parts(numbers)
    mesh = sculpt(parts, cells)
    place = np.asarray(mesh.vertices)
    colors = {name: paint.uniform(0.15, 1.0, 3) for name in PAINTS} | {"dark": paint.uniform(0.02, DARKEST, 3)}
    color = lit(patterned(painted(parts, colors, place), place, paint), np.asarray(mesh.vertex_normals), light)
    found = unit_ball(mesh).mesh_to_canonical(mesh)
    found.visual.vertex_colors = np.rint(255.0 * np.clip(color, 0.0, 1.0)).astype(np.uint8)
    return found


def patterned(color: np.ndarray, place: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The colours with soft stripes or spots of random width and strength, alike at both sides."""
    wave, phase = generator.uniform(2.0, 14.0, 3), generator.uniform(0.0, 2 * np.pi, 2)
    tone, strength = generator.uniform(0.2, 1.0, 3), generator.uniform(0.0, 0.6) * (generator.uniform() < 0.6)
    share = np.sin(wave[1] * place[:, 1] + phase[0]) * np.sin(wave[2] * place[:, 2] + phase[1])
    share = share * np.cos(wave[0] * place[:, 0]) > 0.15
    return color + strength * share[:, None] * (tone - color)


def lit(color: np.ndarray, normal: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The colours under a light from above, beside the one that the camera carries."""
    way = generator.normal(size=3) + [0.0, 2.0, 0.0]
    share = generator.uniform(0.0, LIGHT_SHARE)
    return color * (1.0 - share + share * np.maximum(normal @ (way / np.linalg.norm(way)), 0.0))[:, None]

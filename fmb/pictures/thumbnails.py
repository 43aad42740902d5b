"""Small pictures of many shapes, each beside what it was fitted to, and the page that shows them all."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fmb.geometry.cameras import Cameras, orbit_cameras, pinhole_intrinsics
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.views import Views, select_views
from fmb.machine import write_text

SIDE, SEAM = 160, 4  # pixels of each half, and of the line between them
FIELD_OF_VIEW, DISTANCE, ELEVATION = 35.0, 3.6, 0.35  # degrees, object scales, radians
MOST_CARDS = 2_000  # of a page: a browser takes about so many pictures


def thumbnail(views: Views, given: trimesh.Trimesh | None, found: trimesh.Trimesh | None) -> UInt8[np.ndarray, "h w 3"]:
    """From the camera of the first view: the mesh that was given, or else that view, beside the fit's surface.

    Meshes in the frame of the views.  Without a surface its half stays empty.
    """
    height, width = views.silhouette.shape[1:]
    factor = SIDE / max(height, width)
    size = max(1, round(factor * height)), max(1, round(factor * width))
    first = jax.tree.map(np.asarray, select_views(views, slice(1)))
    intrinsics = np.array(first.cameras.intrinsics, float)
    intrinsics[:, 0] *= size[1] / width
    intrinsics[:, 1] *= size[0] / height
    cameras = Cameras(np.asarray(first.cameras.world_from_camera, float), intrinsics)
    left = shaded(given, cameras, size) if given is not None else resampled(seen(first), size)
    right = np.ones_like(left) if found is None else shaded(found, cameras, size)
    line = np.ones((size[0], SEAM, 3))
    return np.rint(255.0 * np.clip(np.concatenate([left, line, right], axis=1), 0.0, 1.0)).astype(np.uint8)


def portrait(mesh: trimesh.Trimesh) -> UInt8[np.ndarray, "h w 3"]:
    """The mesh, in any frame, as a camera before it and a little above sees it."""
    frame = canonical_frame(mesh)
    lens = pinhole_intrinsics(SIDE, SIDE, FIELD_OF_VIEW)
    camera = jax.tree.map(np.asarray, orbit_cameras(1, DISTANCE, lens, ELEVATION))
    return np.rint(255.0 * shaded(frame.mesh_to_canonical(mesh), camera, (SIDE, SIDE))).astype(np.uint8)


def shaded(mesh: trimesh.Trimesh, cameras: Cameras, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """What the camera sees of the mesh, in grey, 0 to 1, on white: colours of a fit hold shades already."""
    mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    return np.asarray(render_ground_truth(mesh, cameras, size, "raycast").views.color[0], float)


def seen(view: Views) -> Float[np.ndarray, "h w 3"]:
    """The colours of the view's object on white, or its mask in grey."""
    mask = np.asarray(view.silhouette[0], float)[..., None]
    colors = np.full((*mask.shape[:2], 3), 0.4) if view.color is None else np.asarray(view.color[0], float)
    return mask * colors + 1.0 - mask


def resampled(image: Float[np.ndarray, "h w 3"], size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """The image in another size, nearest pixels."""
    rows, columns = ((np.arange(new) + 0.5) * old / new for new, old in zip(size, image.shape[:2], strict=True))
    return image[rows.astype(int)[:, None], columns.astype(int)[None]]


STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; color: #1a1a1a; margin: 2rem; background: #fafafa }
h1 { font-size: 1.5rem; margin: 0 } p { color: #6b6b6b; margin: .3rem 0 1.2rem } p.bad { color: #a03000 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 14px }
a.card { background: #fff; border: 1px solid #e2e2e2; border-radius: 6px; padding: 8px; color: inherit }
a.card { text-decoration: none }
a.card:hover { border-color: #0072b2 } img { width: 100%; display: block } b { display: block; overflow-wrap: anywhere }
small { color: #6b6b6b } table { border-collapse: collapse; margin: 0 0 1.2rem }
td { border-top: 1px solid #e2e2e2; padding: 4px 12px 4px 0; vertical-align: top; overflow-wrap: anywhere }
"""


def write_thumbnails(path: Path, title: str, note: str, cards: Sequence[Mapping[str, Any]]) -> Path:
    """Writes the page; a card has a name, a folder beside the page, a picture or none, a line, and an error or none.

    Pictures stay files of their own, which the browser loads as they come into sight.
    """
    shown = [card for card in cards if not card["error"]]
    failed = [card for card in cards if card["error"]]
    words = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(note)}</p>"]
    if failed:
        rows = "".join(f"<tr><td>{html.escape(card['name'])}<td>{html.escape(card['error'])}" for card in failed)
        words.append(f'<p class="bad">{len(failed)} inputs that could not be used:</p><table>{rows}</table>')
    if len(shown) > MOST_CARDS:
        words.append(f"<p>The first {MOST_CARDS} of {len(shown)}; all are in table.csv.</p>")
    words += ["<main>", *map(card_of, shown[:MOST_CARDS]), "</main>"]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return write_text(path, f"{head}<style>{STYLE}</style><body>{''.join(words)}</body></html>\n")


def card_of(card: Mapping[str, Any]) -> str:
    """A shape's picture, name and numbers, which lead to its folder."""
    name, folder = html.escape(card["name"]), quote(card["folder"])
    picture = card["picture"] and f'<img loading="lazy" src="{quote(card["picture"])}" alt="{name}">'
    return f'<a class="card" href="{folder}/">{picture}<b>{name}</b><small>{html.escape(card["line"])}</small></a>'

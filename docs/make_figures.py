"""Draws pictures of the docs: overlay.png; rules.png, slice.png and components.png as the paper's Figs. 3, 2 and 1.

    python docs/make_figures.py [FOLDER]

Nothing is drawn by hand: the default mesh, a GMM of its volume, fitted to no image but for overlay.png, the renderer.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

from fm_render import INTERSECTIONS, Mixture, Rays, Rendering, Settings, render, trace
from fmb.config import Config
from fmb.fields.looks import look
from fmb.fields.mixtures import fit_gmm
from fmb.files.meshes import read_mesh
from fmb.geometry.cameras import Cameras, look_at, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.interior import sample_interior
from fmb.geometry.metrics import depth_mae, iou
from fmb.geometry.views import foreground, scene_cameras
from fmb.machine import prepare_output_dir
from fmb.pictures.draw import DOTS_PER_INCH, FAINT, INK, draw_sheets, pixels_of, write_picture
from fmb.pictures.sheets import BLUE, ORANGE, overlay_sheet
from fmb.shape.recipe import compile_shape_fit, fit_to_views

ROOT = Path(__file__).resolve().parents[1]
COMPONENTS, POINTS, SEED = 40, 20_000, 0
SIDE, FINER = 420, 2  # pixels of a tile; samples along each side of a pixel
VIEWS, VIEW_SIDE = 20, 128  # that the errors are means over
ASIDE, UP, FIELD_OF_VIEW = (2.1, 0.45, 2.1), (0.0, 1.0, 0.0), 41.0  # from the animal's right and ahead, in scales
LIGHT = np.array([-0.45, 0.7, 0.55])  # in the axes of normals as they are shown: right, up, towards the camera
AMBIENT = 0.25
GOLDEN = 0.6180339887  # of a turn from one component's hue to the next: neighbours differ
SLICE_SCALE = 1.2  # about three times the mean deviation of what the slice shows
OVERLAYS = 10  # views in overlay.png
RED, GREEN = "#d62728", "#2f8f4e"


class View(NamedTuple):
    """One camera's rays, FINER than what is shown, and the turn from the world to right, up, towards the camera."""

    rays: Rays
    shown_from_world: np.ndarray


def main(folder: Path) -> None:
    """Draws all four."""
    prepare_output_dir(folder)
    mesh = read_mesh(ROOT / "data" / "ibex.ply")
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    points = sample_interior(mesh, POINTS, np.random.default_rng(SEED))
    mixture = single(fit_gmm(points, COMPONENTS, SEED))
    view = look_at_middle(mesh)
    print(draw_rules(folder / "rules.png", mesh, mixture, view))
    print(draw_slice(folder / "slice.png"))
    print(draw_components(folder / "components.png", mixture, view))
    print(draw_overlay(folder, mesh, mixture))


def draw_overlay(folder: Path, mesh: trimesh.Trimesh, mixture: Mixture) -> Path:
    """Where silhouettes and the default fit to 20 of them agree, for the first OVERLAYS."""
    options = Config()
    generator = np.random.default_rng(options.random_seed)
    cameras = scene_cameras(generator, options.rendering.num_views, options.rendering)
    size = options.rendering.image_height, options.rendering.image_width
    views = render_ground_truth(mesh, cameras, size, "raycast").views
    program = compile_shape_fit(mixture, views.silhouette.shape, options.optimization)
    fit = fit_to_views(program, mixture, views, generator)
    sheet = overlay_sheet(views.silhouette[:OVERLAYS], look(fit.mixture, cameras, size).alpha[:OVERLAYS])
    return draw_sheets(folder, {"overlay": sheet})[0]


def single(arrays: Any) -> Any:
    """The same in float32."""
    return jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), arrays)


def look_at_middle(mesh: trimesh.Trimesh) -> View:
    """The view of the middle of the mesh's box from ASIDE of it."""
    middle = mesh.bounds.mean(axis=0)
    world_from_camera = look_at(middle + np.array(ASIDE), middle, UP)
    intrinsics = pinhole_intrinsics(FINER * SIDE, FINER * SIDE, FIELD_OF_VIEW)
    rays = pixel_rays(Cameras(world_from_camera[None], intrinsics[None]), FINER * SIDE, FINER * SIDE)
    shown_from_world = np.diag([1.0, -1.0, -1.0]) @ world_from_camera[:3, :3].T
    return View(single(jax.tree.map(lambda x: x[0], rays)), shown_from_world)


def seen(mixture: Mixture, rays: Rays, rule: str = "linear") -> Rendering:
    """Alpha, depth and normals by one rule."""
    function = partial(render, outputs=("alpha", "depth", "normal"), settings=Settings(intersection=rule))
    return jax.tree.map(np.asarray, jax.jit(function)(mixture, rays, 1.0))


def reference_normals(mesh: trimesh.Trimesh, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Normals of the mesh, smooth over its faces, [height, width, 3], and where it is hit at all, [height, width]."""
    shape = view.rays.direction.shape[:-1]
    origin, direction = (np.asarray(x, float).reshape(-1, 3) for x in view.rays)
    place, ray, face = mesh.ray.intersects_location(origin, direction, multiple_hits=False)
    share = trimesh.triangles.points_to_barycentric(mesh.triangles[face], place)
    normal, hit = np.zeros((len(origin), 3)), np.zeros(len(origin))
    smooth = np.einsum("rc,rci->ri", share, mesh.vertex_normals[mesh.faces[face]])
    normal[ray] = smooth / np.linalg.norm(smooth, axis=-1, keepdims=True)
    hit[ray] = 1.0
    return normal.reshape(*shape, 3), hit.reshape(shape)


def normal_colors(normal: np.ndarray, view: View) -> np.ndarray:
    """Red to the right, green up, blue towards the camera."""
    return 0.5 + 0.5 * np.clip(normal @ view.shown_from_world.T, -1.0, 1.0)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours before white, averaged over the samples of each pixel."""
    mixed = color * alpha[..., None] + 1.0 - alpha[..., None]
    return mixed.reshape(SIDE, FINER, SIDE, FINER, 3).mean(axis=(1, 3))


def errors_of(mesh: trimesh.Trimesh, mixture: Mixture, rule: str) -> str:
    """Mask and depth error of a rule, over views from everywhere."""
    intrinsics = pinhole_intrinsics(VIEW_SIDE, VIEW_SIDE, 45.0)
    cameras = random_cameras(np.random.default_rng(SEED), VIEWS, 3.0, intrinsics)
    truth = render_ground_truth(mesh, cameras, (VIEW_SIDE, VIEW_SIDE), "raycast").views
    found = seen(mixture, single(pixel_rays(cameras, VIEW_SIDE, VIEW_SIDE)), rule)
    mask = 100.0 * (1.0 - iou(found.alpha, truth.silhouette))
    depth = 100.0 * depth_mae(found.depth, truth.depth, found.alpha)
    return f"mask error {mask:.1f} %   depth error {depth:.1f} %"


def draw_rules(path: Path, mesh: trimesh.Trimesh, mixture: Mixture, view: View) -> Path:
    """Normals by each rule, beside those of the mesh, with what each rule gets wrong."""
    normal, hit = reference_normals(mesh, view)
    tiles = [("mesh", "4,000 faces, exact rays", on_white(normal_colors(normal, view), hit))]
    for rule in INTERSECTIONS:
        found = seen(mixture, view.rays, rule)
        tiles.append((rule, errors_of(mesh, mixture, rule), on_white(normal_colors(found.normal, view), found.alpha)))
    note = (
        f"Normals of {COMPONENTS} Gaussians, the same for all three rules: a GMM of the volume, fitted to no image. "
        f"Errors over {VIEWS} views: mask 1 - IoU; depth mean |difference| where both are, in % of the object's scale."
    )
    return draw_tiles(path, "Where does a ray hit a Gaussian? Three rules", note, tiles)


def draw_components(path: Path, mixture: Mixture, view: View) -> Path:
    """The components themselves and what the renderer makes of them."""
    from matplotlib import colormaps

    found, white = seen(mixture, view.rays), np.ones((FINER * SIDE, FINER * SIDE))
    inside = foreground(found.alpha)
    near, far = np.quantile(found.depth[inside], (0.005, 0.995))
    depth = colormaps["viridis"](np.clip((found.depth - near) / (far - near), 0.0, 1.0))[..., :3]
    grey = np.repeat(1.0 - found.alpha[..., None], 3, axis=-1)
    shaded = np.array([0.80, 0.72, 0.62]) * shade(found.normal, view)[..., None]
    tiles = [
        ("components", "at one standard deviation", on_white(*ellipsoids(mixture, view))),
        ("depth", f"{near:.2f} (dark) to {far:.2f} scales", on_white(depth, found.alpha)),
        ("alpha", "0 (white) to 1 (black)", on_white(grey, white)),
        ("normals", "red right, green up, blue near", on_white(normal_colors(found.normal, view), found.alpha)),
        ("shaded", "by the normals alone", on_white(shaded, found.alpha)),
    ]
    return draw_tiles(path, f"{COMPONENTS} Gaussians, 400 numbers", "A GMM of an ibex, as the renderer sees it.", tiles)


def shade(normal: np.ndarray, view: View) -> np.ndarray:
    """Brightness of a matt surface under LIGHT."""
    facing = normal @ view.shown_from_world.T @ (LIGHT / np.linalg.norm(LIGHT))
    return AMBIENT + (1.0 - AMBIENT) * np.clip(0.5 + 0.5 * facing, 0.0, 1.0) ** 1.5


def ellipsoids(mixture: Mixture, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Colours of the nearest one-sigma ellipsoid on each ray, and where there is one."""
    from matplotlib.colors import hsv_to_rgb

    shape = view.rays.direction.shape[:-1]
    origin, direction = (np.asarray(x, float).reshape(-1, 3) for x in view.rays)
    hue = GOLDEN * np.arange(len(mixture.mean)) % 1.0
    palette = hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.5), np.full_like(hue, 0.95)], axis=-1))
    nearest, color = np.full(len(origin), np.inf), np.ones((len(origin), 3))
    for mean, factor, paint in zip(*(np.asarray(x, float) for x in mixture[:2]), palette, strict=True):
        u, q = direction @ factor, (mean - origin) @ factor
        square, along = np.sum(u * u, axis=1), np.sum(u * q, axis=1)
        inside = along**2 - square * (np.sum(q * q, axis=1) - 1.0)
        distance = np.where(inside > 0.0, (along - np.sqrt(np.maximum(inside, 0.0))) / square, np.inf)
        first = distance < nearest
        nearest[first] = distance[first]
        outward = (distance[first, None] * u[first] - q[first]) @ factor.T
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        color[first] = paint * shade(outward, view)[:, None]
    return color.reshape(*shape, 3), np.isfinite(nearest).astype(float).reshape(shape)


def draw_tiles(path: Path, title: str, note: str, tiles: list[tuple[str, str, np.ndarray]]) -> Path:
    """A row of pictures, each with a name and a line under it."""
    from matplotlib.figure import Figure

    margin, gap, head, foot = 36, 10, 92, 66
    width, height = 2 * margin + len(tiles) * (SIDE + gap) - gap, head + SIDE + foot
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    figure.text(margin / width, 1 - 44 / height, title, size=12, weight="bold", color=INK)
    figure.text(margin / width, 1 - 74 / height, note, size=7.5, color=FAINT)
    lefts = [margin + place * (SIDE + gap) for place in range(len(tiles))]
    for left, (name, words, _) in zip(lefts, tiles, strict=True):
        middle = (left + SIDE / 2) / width
        figure.text(middle, (foot - 26) / height, name, size=10, color=INK, ha="center")
        figure.text(middle, (foot - 50) / height, words, size=7.5, color=FAINT, ha="center")
    page = pixels_of(figure)
    for left, (_, _, tile) in zip(lefts, tiles, strict=True):
        page[head : head + SIDE, left : left + SIDE] = np.round(255.0 * tile).astype(np.uint8)
    return write_picture(path, page)


def draw_slice(path: Path) -> Path:
    """Three components in a plane, rays from the left, where each rule says that they hit, and the blend."""
    from matplotlib.figure import Figure

    ellipses = ((1.05, 0.48, 0.38, 0.17, 30.0), (1.0, -0.38, 0.36, 0.15, -40.0), (1.6, 0.05, 0.17, 0.42, 8.0))
    mixture = extruded(ellipses)
    slope = np.linspace(-0.58, 0.58, 37)
    direction = np.stack([np.ones_like(slope), slope, np.zeros_like(slope)], axis=-1)
    origin = np.tile([-0.6, 0.0, 0.0], (len(slope), 1))
    rays = single(Rays(origin, direction))
    figure = Figure(figsize=(12.6, 4.6), dpi=DOTS_PER_INCH)
    panels = figure.subplots(1, 3, sharey=True)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.83, bottom=0.1, wspace=0.03)
    figure.text(0.02, 0.935, "A slice: three Gaussians, rays from the left", size=12, weight="bold", color=INK)
    note = (
        "Contours at 1 and 2 standard deviations. Dots: where a ray hits each component, as faint as it is thin there. "
        "Red: the ray up to the blended hit, as faint as alpha."
    )
    figure.text(0.02, 0.89, note, size=7.5, color=FAINT)
    for axes, rule in zip(panels, INTERSECTIONS, strict=True):
        draw_panel(axes, mixture, rays, rule)
    return write_picture(path, pixels_of(figure))


def extruded(ellipses: tuple[tuple[float, float, float, float, float], ...]) -> Mixture:
    """Components that are ellipses (x, y, two deviations, degrees) in the plane z = 0, and long across it."""
    mean, factor = [], []
    for x, y, first, second, degrees in ellipses:
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
        precision = turn @ np.diag([first**-2, second**-2, 1.0]) @ turn.T
        mean.append((x, y, 0.0))
        factor.append(np.linalg.cholesky(precision))
    return single(Mixture(np.array(mean), np.array(factor), np.full(len(mean), 1.0)))


def draw_panel(axes: Any, mixture: Mixture, rays: Rays, rule: str) -> None:
    """One rule's hits and blend."""
    settings = Settings(intersection=rule)
    hits = trace(settings, mixture, rays.origin.T, rays.direction.T)
    blend = render(mixture, rays, SLICE_SCALE, ("alpha", "depth"), settings)
    origin, direction = (np.asarray(x, float) for x in rays)
    x, y = np.meshgrid(np.linspace(-0.7, 2.3, 400), np.linspace(-1.25, 1.25, 330))
    for mean, factor, log_density, distance, color in zip(
        *mixture[:2], hits.log_density, hits.distance, (BLUE, ORANGE, GREEN), strict=True
    ):
        white = (np.stack([x, y, 0 * x], axis=-1) - np.asarray(mean)) @ np.asarray(factor)
        axes.contour(x, y, np.sqrt(np.sum(white**2, axis=-1)), levels=[1, 2], colors=[color], linewidths=[1.4, 0.7])
        place = origin + np.asarray(distance)[:, None] * direction
        opacity = np.clip(-np.expm1(-np.exp(np.asarray(log_density))), 0.0, 1.0)
        axes.scatter(*place[:, :2].T, s=11, color=color, alpha=opacity, linewidths=0, zorder=4)
    away = origin + 3.3 * direction
    axes.plot(*np.stack([origin[:, :2], away[:, :2]]).transpose(2, 0, 1), color="#e4e4e4", linewidth=0.5, zorder=1)
    end = origin + np.asarray(blend.depth)[:, None] * direction
    for start, stop, alpha in zip(origin, end, np.asarray(blend.alpha, float), strict=True):
        axes.plot(*zip(start[:2], stop[:2], strict=True), color=RED, alpha=0.5 * alpha, linewidth=0.6, zorder=2)
    axes.scatter(*end[:, :2].T, s=18, color=RED, alpha=np.asarray(blend.alpha, float), linewidths=0, zorder=5)
    axes.scatter(*origin[0, :2], s=26, marker=">", color=INK, zorder=5)
    axes.set_title(rule, size=10, color=INK, y=-0.08)
    axes.set_aspect("equal")
    axes.set_xlim(-0.7, 2.3)
    axes.set_ylim(-1.25, 1.25)
    axes.axis("off")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures")

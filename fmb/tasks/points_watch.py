"""A page that shows a fit while it runs: its surface and its losses at the last checkpoint. It loads itself anew."""

import html
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fmb.clouds.recipe import Hooks, State
from fmb.clouds.surface import extract
from fmb.fields.contour import NoSurface
from fmb.machine import tell, write_picture, write_text
from fmb.pictures import clouds as drawn

PAGE, SURFACE, TERMS = "watch.html", "watch_surface.png", "watch_terms.png"
FILES = (PAGE, SURFACE, TERMS)  # what a watched run has in its folder
CELLS = 48  # along the longest side of the surface that is shown
SECONDS = 2  # after which the page loads itself anew


class Watch:
    """Draws each state that is kept, of a fit to normalised points, into a folder."""

    def __init__(self, folder: Path, points: Float[np.ndarray, "point 3"], title: str):
        self.folder, self.title, self.total = folder, title, 0
        self.ball = drawn.ball_of(drawn.box_mesh(points))

    @property
    def address(self) -> str:
        """What a browser opens."""
        return (self.folder / PAGE).resolve().as_uri()

    def progress(self, step: int, total: int, loss: float) -> None:
        """Notes how many steps there are."""
        self.total = total

    def save(self, state: State) -> None:
        """Draws the state; the last one stays, on a page that loads no more."""
        try:
            mesh, words = extract(state.field, CELLS, polished=False), f"step {state.step}"
        except NoSurface:
            mesh, words = None, f"step {state.step} (no surface)"
        write_picture(self.folder / SURFACE, drawn.film_frame(mesh, self.ball, words))
        names = [SURFACE]
        if len(state.history.get("loss", ())):
            names.append(drawn.draw_terms(self.folder / TERMS, state.history).name)
        write_text(self.folder / PAGE, page(self.title, names, (state.step, self.total)))


def watched(hooks: Hooks, watch: Watch) -> Hooks:
    """The hooks, with the watch told of all that they are; says where to look."""
    tell(f"watch the fit: open {watch.address} in a browser")

    def progress(step: int, total: int, loss: float) -> None:
        watch.progress(step, total, loss)
        hooks.progress(step, total, loss)

    def save(state: State) -> None:
        hooks.save(state)
        watch.save(state)

    return hooks._replace(progress=progress, save=save)


def page(title: str, names: list[str], steps: tuple[int, int]) -> str:
    """The page: the pictures of these names after the first of so many steps, 0 where their number is not known."""
    done, total = steps
    over = 0 < total == done
    again = "" if over else f'<meta http-equiv="refresh" content="{SECONDS}">'
    words = f"step {done} of {total}" if total else "the start"
    words += "; done: the results are being written" if over else ""
    # the step in the address has the browser load the picture again
    pictures = "".join(f'<p><img src="{name}?{done}" alt="{name}"></p>' for name in names)
    style = "body { font: 15px sans-serif; margin: 2em; color: #1a1a1a } img { max-width: 100% }"
    head = f'<meta charset="utf-8">{again}<title>{html.escape(title)}</title><style>{style}</style>'
    body = f"<h1>{html.escape(title)}</h1><p>{words}</p>{pictures}"
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>\n"

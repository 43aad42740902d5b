"""A page on this machine that shows a fit in a browser while it runs. It needs the extra "view" (viser)."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.ends import calm
from fmb.geometry.views import Views
from fmb.pictures.ellipsoids import component_colors, component_ellipsoids, enclosing_ball
from fmb.pictures.turntable import common_up

HOST, PORT = "127.0.0.1", 8080  # only this machine; the next free port where this one is taken
LOCAL = (HOST, "localhost", "::1")  # names by which a page of this machine may be asked for
FEWEST_SECONDS = 0.1  # between two pictures
MOST_CAMERAS = 32  # evenly picked
DISTANCE = 4.0  # of the first view, in radii of the object
PYRAMID = 0.07  # length of a camera's pyramid over its distance
DEEPER = 1.8  # power applied to colours, since the page's light makes them pale


class LiveView:
    """Shows components as ellipsoids that end where each alone is half opaque, and cameras with their masks.

    A context: the server runs within it. Call `update` after each chunk of steps.
    """

    def __init__(self, views: Views | None = None, port: int = PORT):
        self.views, self.port, self.shapes, self.shown = views, port, None, -np.inf

    def __enter__(self) -> "LiveView":
        """Starts the server. Raises ValueError where the extra is missing or no port is free."""
        viser = load_viser()
        try:
            with redirect_stdout(io.StringIO()), for_own_page() as guarded:  # viser prints a box there
                self.server = viser.ViserServer(host=HOST, port=self.port, label="fuzzy metaballs", verbose=False)
        except OSError as error:
            raise ValueError(f"--view: no server on port {self.port} ({(error.strerror or 'error').lower()})") from None
        try:
            self._fill()
            if not guarded:
                raise ValueError("--view: this viser opens its server in a way that is not known; version 1.1.1 is")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: Any) -> None:
        with redirect_stdout(io.StringIO()):
            self.server.stop()

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://{HOST}:{self.server.get_port()}"

    def update(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """Shows this state of the fit, unless one was shown just before; the last one is always shown."""
        if step < total and time.monotonic() < self.shown + FEWEST_SECONDS:
            return
        with self.server.atomic():
            self.words.content = f"step {step} of {total}\n\nloss {loss:.4f}"
            self._show(mixture)
        self.shown = time.monotonic()

    def wait(self) -> None:
        """Keeps the page until an interrupt from the keyboard."""
        try:
            self.server.sleep_forever()
        except KeyboardInterrupt:
            calm()

    def _fill(self) -> None:
        self.server.gui.configure_theme(show_share_button=False)  # that button would make the page public
        self.words = self.server.gui.add_markdown("waiting for the fit")
        if self.views is not None:
            self.server.scene.set_up_direction(common_up(self.views.cameras))
            self._add_cameras(self.views)

    def _show(self, mixture: Mixture) -> None:
        shapes = component_ellipsoids(mixture)
        turn = Rotation.from_matrix(shapes.rotation).as_quat(scalar_first=True)
        # one deviation for a component that is half opaque nowhere, as at the start
        size = (np.where(shapes.reach > 0.0, shapes.reach, 1.0)[:, None] * shapes.deviation).astype(np.float32)
        if self.shapes is None or len(self.shapes.batched_positions) != len(turn):
            self._look_at(mixture)
            ball = trimesh.creation.icosphere(3)
            colors = np.round(255.0 * component_colors(len(turn)) ** DEEPER).astype(np.uint8)
            self.shapes = self.server.scene.add_batched_meshes_simple(
                "/components",
                np.asarray(ball.vertices, np.float32),
                np.asarray(ball.faces, np.uint32),
                turn,
                shapes.centre,
                batched_scales=size,
                batched_colors=colors,
                lod="off",
            )
            return
        self.shapes.batched_positions = shapes.centre.astype(np.float32)
        self.shapes.batched_wxyzs = turn.astype(np.float32)
        self.shapes.batched_scales = size

    def _look_at(self, mixture: Mixture) -> None:
        ball = enclosing_ball(mixture)
        camera = self.server.initial_camera
        camera.position = tuple(ball.centre + DISTANCE * ball.radius * np.array([0.55, 0.35, 0.75]))
        camera.look_at = tuple(ball.centre)

    def _add_cameras(self, views: Views) -> None:
        count, height, width = views.silhouette.shape
        pose = np.asarray(views.cameras.world_from_camera, float)
        middle = pose[:, :3, 3].mean(axis=0)
        length = PYRAMID * float(np.median(np.linalg.norm(pose[:, :3, 3] - middle, axis=1))) or 0.1
        for view in np.unique(np.linspace(0, count - 1, min(count, MOST_CAMERAS)).round().astype(int)):
            mask = np.round(255.0 * np.asarray(views.silhouette[view], float)).astype(np.uint8)
            self.server.scene.add_camera_frustum(
                f"/cameras/{view}",
                2.0 * np.arctan(0.5 * height / float(views.cameras.intrinsics[view, 1, 1])),
                width / height,
                scale=length,
                thickness=1.5,
                thickness_units="screen",
                color=(120, 130, 140),
                image=np.repeat(mask[..., None], 3, axis=-1),
                wxyz=Rotation.from_matrix(pose[view, :3, :3]).as_quat(scalar_first=True),
                position=pose[view, :3, 3],
            )


@contextmanager
def for_own_page() -> Iterator[list[tuple]]:
    """Has servers that viser starts within answer their own page alone, asked for by a name of this machine.

    Any web page may open a connection to this machine; browsers say in Origin whose it is, and in Host what name was
    looked up, which for a page that had its own name lead here would be that name.
    Gives a list of these servers' addresses, which is empty where viser starts its server in another way.
    """
    guarded: list[tuple] = []
    try:
        from websockets.asyncio import server
    except ImportError:
        yield guarded
        return
    plain = server.serve

    def serve(*places: Any, process_request: Any, **options: Any) -> Any:
        guarded.append(places)

        def answer(connection: Any, request: Any) -> Any:
            if is_foreign(request.headers):
                return connection.respond(403, "this page is for this machine alone\n")
            return process_request(connection, request)

        return plain(*places, process_request=answer, **options)

    server.serve = serve
    try:
        yield guarded
    finally:
        server.serve = plain


def is_foreign(headers: Any) -> bool:
    """Whether a request names another machine, or comes from the page of another server."""
    hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
    local = len(hosts) == 1 and urlsplit(f"//{hosts[0]}").hostname in LOCAL
    return not local or any(urlsplit(origin).netloc != hosts[0] for origin in origins)


def load_viser() -> Any:
    """The module viser. Raises ValueError, one line that names the extra, where it is not installed."""
    try:
        import viser
    except ImportError:
        raise ValueError(
            '--view needs viser: install the extra "view" (uv sync --extra view, or pip install viser==1.1.1)'
        ) from None
    return viser

"""The live view: one line without its extra; with it, a server on this machine alone that takes every update."""

import socket
import sys
import urllib.error
import urllib.request
from contextlib import nullcontext

import numpy as np
import pytest

from fm_render import Mixture
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.views import Views
from fmb.pictures import live
from fmb.pictures.live import LiveView


def some_mixture(count: int, size: float = 1.0) -> Mixture:
    generator = np.random.default_rng(0)
    mean = generator.normal(size=(count, 3))
    return Mixture(mean, np.tile(np.eye(3) / size, (count, 1, 1)), np.linspace(-5.0, 5.0, count))


def some_views() -> Views:
    return Views(orbit_cameras(3, 3.0, pinhole_intrinsics(6, 8, 45.0)), np.ones((3, 6, 8)))


@pytest.fixture
def viser():
    """The module; the tests that need it are skipped without it."""
    return pytest.importorskip("viser", reason='the extra "view" is not installed')


def test_without_the_extra_one_line_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ValueError, match='--view needs viser: install the extra "view"'), LiveView():
        pass


def test_no_server_is_one_line(monkeypatch):
    class Refused:
        @staticmethod
        def ViserServer(**options) -> None:
            raise OSError(98, "Address already in use")

    monkeypatch.setattr(live, "load_viser", lambda: Refused)
    with pytest.raises(ValueError, match=r"--view: no server on port 8080 \(address already in use\)"), LiveView():
        pass


def test_a_server_that_cannot_be_filled_is_stopped(monkeypatch):
    class Server:
        stopped = False

        def __init__(self, **options):
            pass

        def stop(self) -> None:
            Server.stopped = True

    class Module:
        ViserServer = Server

    monkeypatch.setattr(live, "load_viser", lambda: Module)
    with pytest.raises(AttributeError, match="gui"), LiveView():  # the stand-in has none
        pass
    assert Server.stopped


def test_server_answers_on_this_machine_alone(viser):
    with LiveView(some_views()) as view:
        port = view.server.get_port()
        assert view.address == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(view.address, timeout=20) as answer:
            assert answer.status == 200 and b"<html" in answer.read()
        other = next((a[4][0] for a in socket.getaddrinfo(socket.gethostname(), port) if a[4][0] != "127.0.0.1"), None)
        if other is not None:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((other, port), timeout=5).close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(view.address, timeout=5)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "elsewhere.example:{port}"}, 403),  # a page whose name leads here
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
    ],
)
def test_other_pages_are_not_answered(viser, headers, status):
    with LiveView() as view:
        port = view.server.get_port()
        asked = urllib.request.Request(view.address, headers={k: v.format(port=port) for k, v in headers.items()})
        try:
            answer = urllib.request.urlopen(asked, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            assert answer.status == status


@pytest.mark.parametrize(("origin", "taken"), [("", True), ("http://127.0.0.1:{port}", True), ("http://a.org", False)])
def test_other_pages_get_no_connection(viser, origin, taken):
    from websockets.exceptions import InvalidStatus
    from websockets.sync import client

    with LiveView() as view:
        port = view.server.get_port()
        connect = {"origin": origin.format(port=port) or None, "subprotocols": [f"viser-v{viser.__version__}"]}
        refused = nullcontext() if taken else pytest.raises(InvalidStatus, match="403")
        with refused, client.connect(f"ws://127.0.0.1:{port}", **connect):
            pass


def test_updates_move_the_components(viser, monkeypatch):
    monkeypatch.setattr(live, "FEWEST_SECONDS", 0.0)
    with LiveView() as view:
        view.update(0, 10, 0.5, some_mixture(4))
        first = np.array(view.shapes.batched_scales)
        view.update(5, 10, 0.4, some_mixture(4, size=2.0))
        assert np.allclose(view.shapes.batched_scales, 2.0 * first, rtol=1e-5)
        assert "step 5 of 10" in view.words.content and "0.4000" in view.words.content
        view.update(10, 10, 0.3, some_mixture(6))
        assert len(view.shapes.batched_positions) == 6


def test_updates_that_follow_too_fast_wait(viser, monkeypatch):
    monkeypatch.setattr(live, "FEWEST_SECONDS", 1e6)
    with LiveView() as view:
        for step in (0, 5):
            view.update(step, 10, 0.5, some_mixture(4))
        assert "step 0 of 10" in view.words.content
        view.update(10, 10, 0.5, some_mixture(4))
        assert "step 10 of 10" in view.words.content


def test_waiting_ends_with_an_interrupt(viser, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with LiveView() as view:
        monkeypatch.setattr(view.server, "sleep_forever", interrupt)
        view.wait()

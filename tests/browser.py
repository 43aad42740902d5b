"""A headless browser for the tests, driven over its debugging pipe: no package, no port.

The browser is $FMB_BROWSER, or the first Chromium or Chrome on PATH or among those that playwright installed.
"""

import base64
import io
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLAYWRIGHT = ".cache/ms-playwright/chromium*/chrome*/*"
# WebGL without a graphics card; no sandbox, since containers run tests as root.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0  # seconds for one answer, on a busy machine


def find_browser() -> str | None:
    """Path of a browser, None where there is none."""
    if named := os.environ.get("FMB_BROWSER"):
        return shutil.which(named)
    installed = sorted(str(path) for path in Path.home().glob(PLAYWRIGHT) if path.name in ("chrome", "headless_shell"))
    return next(filter(None, (*map(shutil.which, PROGRAMS), *installed)), None)


class Browser:
    """One tab; `errors` are the page's errors and refused loads since the last `open`."""

    def __init__(self, to_browser: int, from_browser: int):
        self.sink, self.source, self.number = to_browser, from_browser, 0
        self.unread, self.errors, self.session = b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.sink, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, path: Path, width: int, height: int, mobile: bool = False) -> None:
        """Loads a file into a window of that many CSS pixels, and waits until its viewer has drawn or failed."""
        self.errors = []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Page.navigate", url=path.resolve().as_uri())
        limit = time.monotonic() + PATIENCE
        while self.value("document.documentElement?.dataset.viewer || ''") == "" and time.monotonic() < limit:
            time.sleep(0.1)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def screenshot(self, whole: bool = False) -> np.ndarray:
        """The window, or the whole page, as [height, width, 3]."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            assert select.select([self.source], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self.source, 2**20)
            assert part, "the browser has ended"
            self.unread += part
        text, _, self.unread = self.unread.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(event["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(part.get("value")) for part in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not event["request"]["url"].startswith(("data:", "file:")):
            self.errors.append(f"asked for {event['request']['url'][:80]}")


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """A running browser, its files in the folder `profile`."""
    command_in, command_out = os.pipe()
    answer_in, answer_out = os.pipe()
    # The browser reads descriptor 3 and writes 4; the shell renames them, because a Python hook would make a fork.
    rename = f'exec "$0" "$@" 3<&{command_in} 4>&{answer_out}'
    words = ["bash", "-c", rename, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        words, pass_fds=(command_in, answer_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(command_in)
    os.close(answer_out)
    try:
        yield Browser(command_out, answer_in)
    finally:
        process.terminate()
        process.wait()
        os.close(command_out)
        os.close(answer_in)

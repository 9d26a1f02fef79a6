"""A headless Chromium for the tests, driven over its own DevTools protocol through a pipe: no port, no package.

Playwright would bring 130 MB and a Node.js of its own, and a WebSocket client a package and a port, for a dozen calls.

PYTHONPATH=tests python -m helpers.browser PAGE FOLDER     takes pictures at both widths, light and dark, to look at
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
PLAYED_ON = """HTMLMediaElement.prototype.play = ((play) => function () { this.loop = true; return play.call(this); })(
  HTMLMediaElement.prototype.play);"""
"""Sounds begin anew at their end: a short one may have ended before a busy machine has looked at it."""
PATIENCE = 60.0
"""Seconds that an answer, or a condition of the page, may take on a busy machine."""


def find() -> str | None:
    """The browser on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `errors` gathers exceptions and console errors, `requests` every address that was asked for."""

    def __init__(self, pipe_in: int, pipe_out: int) -> None:
        self._in, self._out = pipe_in, pipe_out
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        """The next message; events are noted on their way."""
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], PATIENCE)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        event = json.loads(message)
        reported = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = reported["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if reported["type"] in ("error", "warning", "assert"):
                self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in reported["args"]))
            case "Log.entryAdded" if reported["entry"]["level"] in ("error", "warning"):
                self.errors.append(reported["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(reported["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True
        return event

    def show(self, width: int, height: int, dark: bool = False, touch: bool = False) -> None:
        """Set the size of the window in CSS pixels, and the colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path | str) -> None:
        """Load a file, or an address of this machine, and wait until its script has run."""
        self.run("window.isOld = true")
        self._loaded = False
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        end = time.monotonic() + PATIENCE
        while not self._loaded:
            if b"\0" in self._buffer or select.select([self._in], [], [], 1.0)[0]:
                self._next()
            elif self.run("!window.isOld && document.readyState === 'complete'"):
                break  # the event of it was lost, which has been seen once
            assert time.monotonic() < end, f"{page} does not load"

    def connect(self) -> None:
        """Let pages reach this machine's own servers; other names still lead nowhere."""
        self.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def drop(self, selector: str, *files: Path) -> None:
        """Drag files over an element and let them go."""
        x, y = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", script))
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true, and give its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(f"new Promise(r => requestAnimationFrame(() => r({script})))")):
            assert time.monotonic() < end, f"never true: {script}"
        return value

    def click(self, selector: str) -> None:
        """Bring an element into view and click in its middle, as a pointer does."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.click_at(x, y)

    def click_at(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def press(self, key: str) -> None:
        """Press a key by its name, such as "Enter", "ArrowRight" or "y"."""
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key) or ord(key.upper())}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, file: Path) -> None:
        """A PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(executable: str, profile: Path, *flags: str) -> Iterator[Page]:
    """A page of a browser that ends with the block.

    Args:
        executable: as `find` gives it.
        profile: an empty folder for what the browser keeps.
        flags: of the command line, besides `FLAGS`.
    """
    to_browser, ours = os.pipe()
    theirs, from_browser = os.pipe()

    def wire() -> None:
        # Both ends are moved out of the way first: either could be 3 or 4 already.
        reading, writing = os.dup(to_browser), os.dup(from_browser)
        high = [os.dup(reading), os.dup(writing)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [executable, *FLAGS, *flags, f"--user-data-dir={profile}"],
        preexec_fn=wire,
        pass_fds=(3, 4),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Page(theirs, ours)
    finally:
        os.close(ours)
        os.close(theirs)
        process.terminate()
        process.wait(PATIENCE)


if __name__ == "__main__":
    page_file, pictures = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, browser(find() or NAMES[0], Path(folder)) as opened:
        for wide in (1280, 390):
            for dark in (False, True):
                opened.show(wide, 900, dark, touch=wide < 500)
                opened.open(page_file)
                opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
                opened.picture(pictures / f"{page_file.parent.name}-{wide}-{'dark' if dark else 'light'}.png")
        print(opened.errors or "no errors")  # noqa: T201

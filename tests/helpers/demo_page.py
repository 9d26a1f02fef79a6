"""The page of `sondino demo` for tests: what it runs on, sounds to put on it, and what it then holds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from helpers import browser
from sondino.exporters.demo import page_server
from sondino.loopback import PAGE

EXECUTABLE = browser.find()
NEEDS = [
    pytest.mark.full,
    pytest.mark.skipif(EXECUTABLE is None, reason=f"none of {', '.join(browser.NAMES)} is installed"),
    pytest.mark.skipif(not (PAGE / "index.html").is_file(), reason="the page is not built: make web"),
]
"""Marks of a test that opens the page."""
TOLERANCE = 1e-3
CLIPS = Path(__file__).parents[1] / "data" / "clips"
TROUBLE = "!document.querySelector('#trouble').hidden && document.querySelector('#trouble').textContent"
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
READY = "window.sondino && sondino.entries.length === 1"
"""The page has loaded its model and embedded its first clip."""


def music(samples: int, rate: int, seed: int = 0) -> np.ndarray:
    """Chords, clicks and noise (samples, 2): something in every band, differing by channel."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / rate
    x = 0.02 * rng.standard_normal((samples, 2))
    for hz in (110, 277, 660, 2093, 5000, 9000, 13100):
        x[:, 0] += 0.06 * np.sin(2 * np.pi * hz * t) * (1 + np.sin(2 * np.pi * 1.7 * t))
        x[:, 1] += 0.05 * np.sin(2 * np.pi * 1.01 * hz * t)
    x[:: rate // 7] += 0.4
    return x.astype(np.float32)


def faults(page: browser.Page) -> list[str]:
    """What the console complained of, but for Chromium's own word that it has no graphics card."""
    return [error for error in page.errors if error != "No available adapters."]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder."""
    with page_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def entries(page: browser.Page, count: int) -> list[dict[str, Any]]:
    """The clips so far, once there are so many."""
    page.until(f"sondino.entries.length === {count}")
    rows = "sondino.entries.map(h => ({...h, vector: [...h.vector], windows: [...h.windows], result: null}))"
    return page.run(rows)


def assert_same(vector: list[float], expected: np.ndarray) -> None:
    got = np.array(vector, np.float32)
    assert np.abs(got - expected).max() <= TOLERANCE * min(1.0, np.abs(expected).max())


def tone(file: Path, hz: float, seconds: float = 4.0, rate: int = 32000) -> Path:
    """Write a tone that begins in the middle."""
    t = np.arange(int(seconds * rate)) / rate
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * hz * t) * (t >= seconds / 2), rate)
    return file


def choose_file(page: browser.Page, file: Path) -> None:
    """Choose a file, as the button does."""
    document = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=document, selector="#files")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

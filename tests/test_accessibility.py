"""axe-core finds nothing on any kind of page, at the width of a screen and of a phone, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import browser
from helpers.accessible import AXE, faults_by_axe, least_contrast
from helpers.demo_page import CLIPS, FAKE, NEEDS, READY, choose_file, entries, served, tone
from helpers.page_bundle import DIM, write_page_bundle
from helpers.report_pages import write_pages
from sondino.encoder.unlike import Unlike
from sondino.exporters.web import export_web

pytest.importorskip("sklearn")
EXECUTABLE = browser.find()
pytestmark = [*NEEDS, pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in web/")]
REPORTS = ("run", "evaluation", "support", "sweep", "long")
DEMO = ("demo", "listening")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    assert EXECUTABLE is not None
    with browser.browser(EXECUTABLE, tmp_path_factory.mktemp("profile"), *FAKE) as opened:
        opened.connect()
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path | str]]:
    """A file or an address of each kind of page."""
    where = tmp_path_factory.mktemp("pages")
    score = Unlike(np.zeros((1, DIM)), np.eye(1, DIM), np.ones(2), np.arange(2))  # type: ignore[arg-type]
    bundle = write_page_bundle(where / "bundle", unlike=score)
    with served(export_web(bundle, where / "page", gallery=CLIPS)) as address:
        yield {**write_pages(where), **dict.fromkeys(DEMO, address)}


def fill(page: browser.Page, kind: str, sound: Path) -> None:
    """Bring the page into the state in which most of it is shown."""
    if kind in DEMO:
        page.until(READY)
    if kind == "demo":
        choose_file(page, tone(sound, 1000))
        entries(page, 2)
    if kind == "listening":
        page.click("#listen")
        page.until("document.querySelectorAll('#tracks li:not([hidden])').length")
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("kind", [*REPORTS, *DEMO])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(
    page: browser.Page, pages: dict[str, Path | str], kind: str, width: int, dark: bool, tmp_path: Path
) -> None:
    page.show(width, 900, dark, touch=width < 500)
    page.open(pages[kind])
    fill(page, kind, tmp_path / "tone.wav")
    assert faults_by_axe(page) == []
    ratio, where = least_contrast(page)
    assert ratio >= 4.5, where

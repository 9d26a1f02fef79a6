"""The page of `sondino label` in Chromium: a whole loop by keys alone, what goes wrong, and axe-core at both widths."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from helpers import browser
from helpers.accessible import AXE, faults_by_axe, least_contrast
from helpers.fake_session import FakeSession
from sondino.annotation.server import LabelServer, open_label_server
from sondino.annotation.session import State
from sondino.loopback import PAGE

EXECUTABLE = browser.find()
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(EXECUTABLE is None, reason=f"none of {', '.join(browser.NAMES)} is installed"),
    pytest.mark.skipif(not (PAGE / "label.html").is_file(), reason="the page is not built: make web"),
]
RATE = 16000
FILES = 8
MARKUP = "<img src=x onerror=alert(1)> & <b>bird</b>"
CATCH = "window.Audio = class extends Audio { constructor() { super(); window.heard = this; } };"
TEXT = "document.querySelector('#%s').textContent"
SHOWN = "document.querySelector('#mels').getAttribute('aria-label').startsWith('Spectrogram of %s')"
TROUBLE = "!document.querySelector('#trouble').hidden && document.querySelector('#trouble').textContent"
COUNTS = "[...document.querySelectorAll('#labels small')].map(e => e.textContent)"
NAMES = "[...document.querySelectorAll('#labels span')].map(e => e.textContent)"
PRESSED = "document.querySelector('#%s [aria-pressed=true] span').textContent"
SEEK = "Number(document.querySelector('#seek').value)"


@pytest.fixture
def session(tmp_path: Path) -> FakeSession:
    """Recordings of 20 s with a window at 10 s in each; the tone of a recording sounds in its window alone."""
    t = np.arange(20 * RATE) / RATE
    for i in range(FILES):
        tone = 0.3 * np.sin(2 * np.pi * 500 * (i + 1) * t) * ((t >= 10) & (t < 11))
        soundfile.write(tmp_path / f"r{i}.wav", tone, RATE)
    return FakeSession(tmp_path, [(f"r{i}.wav", 10.0) for i in range(FILES)], given={1: "cat"})


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    assert EXECUTABLE is not None
    with browser.browser(EXECUTABLE, tmp_path_factory.mktemp("profile")) as page:
        page.connect()
        page.call("Page.addScriptToEvaluateOnNewDocument", source=CATCH)
        yield page


@pytest.fixture
def server(session: FakeSession) -> Iterator[LabelServer]:
    with open_label_server(0) as opened:
        opened.session = session
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield opened
        opened.shutdown()


@pytest.fixture
def show(tab: browser.Page, server: LabelServer) -> Iterator[Callable[..., browser.Page]]:
    """Opens the page at a width; afterwards it asked nobody else for anything."""

    def opened(width: int = 1280, dark: bool = False) -> browser.Page:
        tab.show(width, 900, dark, touch=width < 500)
        tab.open("about:blank")
        tab.errors.clear()
        tab.requests.clear()
        tab.open(server.address)
        tab.until("!document.querySelector('#work').hidden")
        return tab

    yield opened
    root = server.address.partition("#")[0]
    assert [url for url in tab.requests if not url.startswith((root, "blob:", "about:"))] == []
    tab.open("about:blank")


def write(page: browser.Page, text: str) -> None:
    """Type into what has the focus."""
    page.call("Input.insertText", text=text)


def press(page: browser.Page, key: str, then: str) -> None:
    """Press a key, and wait until the page has done what it asks for."""
    page.press(key)
    page.until(f"({then}) && document.querySelector('#state').textContent === ''")


def is_shown(page: browser.Page, name: str) -> None:
    page.until(SHOWN % name)


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in web/")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_loop_by_keys_alone(show: Any, session: FakeSession, width: int, dark: bool) -> None:
    page = show(width, dark)
    # No label yet: the form has the focus.
    assert page.run("document.activeElement.id") == "name"
    write(page, "dog")
    page.press("Enter")
    is_shown(page, "r0.wav")
    assert page.run(TEXT % "question") == "Is this dog?"
    assert page.run(TEXT % "facts") == "0:10.0 to 0:11.0 · no score yet · most uncertain"
    assert page.run("document.querySelectorAll('#following li:not([hidden])').length") == 4
    press(page, "y", SHOWN % "r1.wav")
    assert session.answers == [(0, "dog", "yes", "uncertain")]
    assert page.run(TEXT % "facts") == "0:10.0 to 0:11.0 · probability 13 % · most uncertain · given: cat"
    page.until("!heard.paused && heard.currentTime > 3.1")  # it plays by itself, from the window on
    press(page, " ", "heard.paused")
    press(page, " ", "!heard.paused")
    press(page, "n", SHOWN % "r2.wav")
    press(page, "?", SHOWN % "r3.wav")
    press(page, "ArrowRight", SHOWN % "r4.wav")
    assert [verdict for _, _, verdict, _ in session.answers] == ["yes", "no", "unsure"]
    assert page.run(COUNTS) == ["1 yes, 1 no, 1 not sure"]
    announced = page.run(TEXT % "announcement")
    assert announced.startswith("Skipped. dog: 1 yes, 1 no, 1 not sure. Is this dog? r4.wav, 0:10.0 to 0:11.0")
    # Back to the start, and one more.
    for name in ("r2.wav", "r1.wav", "r0.wav"):
        press(page, "z", SHOWN % name)
    press(page, "z", TEXT % "announcement" + ".startsWith('There is no answer to take back')")
    assert session.answers == []
    press(page, "5", PRESSED % "ways" + " === 'At random'")
    press(page, "y", SHOWN % "r1.wav")
    assert session.answers == [(0, "dog", "yes", "random")]
    assert "75 % have it (95 % interval: 50 % to 90 %; from 1 answer at random)" in page.run(TEXT % "precision")
    assert page.run(TEXT % "advice") == "answer 5 at random for dog"
    # A second label, whose name is text and no markup.
    page.press("l")
    page.until("document.activeElement.id === 'name'")
    page.run("document.querySelector('#name').select()")
    write(page, MARKUP)
    page.press("Enter")
    page.until(f"{NAMES}.length === 2")
    is_shown(page, "r0.wav")
    assert page.run(NAMES) == ["dog", MARKUP] and page.run(TEXT % "question") == f"Is this {MARKUP}?"
    assert page.run("document.querySelectorAll('main img, main b').length") == 0
    press(page, "n", SHOWN % "r1.wav")
    assert session.answers[-1] == (0, MARKUP, "no", "random")
    press(page, "ArrowUp", PRESSED % "labels" + " === 'dog'")
    press(page, "ArrowDown", PRESSED % "labels" + " !== 'dog'")
    press(page, "ArrowDown", PRESSED % "labels" + " === 'dog'")
    press(page, "w", "document.querySelectorAll('#written li').length === 2")
    assert page.run("document.querySelector('#written').textContent").endswith("report.html")
    # All of it is drawn, fits and can be used by everybody.
    assert page.run("document.querySelector('#mels').clientHeight") == (300 if width > 820 else 200)
    page.until("document.querySelector('#mels').width > 100")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert faults_by_axe(page) == []
    ratio, where = least_contrast(page)
    assert ratio >= 4.5, where
    press(page, "h", "document.querySelector('#help').open")
    assert faults_by_axe(page) == []
    press(page, "y", "document.querySelector('#help').open")  # no answer while the list is open
    press(page, "h", "!document.querySelector('#help').open")
    assert len(session.answers) == 2
    assert page.errors == []


def test_every_key_has_a_button_that_leaves_the_focus(show: Any, session: FakeSession) -> None:
    session.labels = ["dog", "cat"]
    page = show()
    is_shown(page, "r0.wav")
    page.click("[data-action=yes]")
    is_shown(page, "r1.wav")
    page.until("!heard.paused && heard.currentTime > 3")
    page.press(" ")  # plays or pauses, and does not press the button again
    page.until("heard.paused")
    assert [verdict for _, _, verdict, _ in session.answers] == ["yes"]
    page.click("[data-action=unsure]")
    is_shown(page, "r2.wav")
    page.click("[data-action=no]")
    is_shown(page, "r3.wav")
    page.click("[data-action=undo]")
    is_shown(page, "r2.wav")
    page.click("[data-action=skip]")
    is_shown(page, "r3.wav")
    page.click("#following li:nth-child(2) button")
    is_shown(page, "r5.wav")
    page.click("#labels li:nth-child(2) button")
    is_shown(page, "r0.wav")
    page.click("#ways li:nth-child(5) button")
    page.until(PRESSED % "ways" + " === 'Highest score'")
    is_shown(page, "r7.wav")
    page.until("!heard.paused")
    page.click("#play")
    page.until("heard.paused")
    page.click("[data-action=write]")
    page.until("document.querySelectorAll('#written li').length === 2")
    page.click("[data-action=help]")
    page.until("document.querySelector('#help').open")
    page.click("#keys-on")
    page.click("#close-help")
    page.press("y")  # switched off
    page.click("[data-action=new]")
    page.until("document.activeElement.id === 'name'")
    page.press("Escape")
    page.until("document.querySelector('#new-label').hidden")
    assert [verdict for _, _, verdict, _ in session.answers] == ["yes", "unsure"]
    assert page.errors == []


def test_the_window_is_marked_where_its_tone_is_and_a_click_seeks(show: Any, session: FakeSession) -> None:
    session.labels = ["dog"]
    page = show()
    is_shown(page, "r0.wav")
    assert page.run("[document.querySelector('#seek').min, document.querySelector('#seek').max]") == ["7", "14"]
    assert page.run(SEEK) == 10
    lines = page.run("[...document.querySelectorAll('#outside line')].map(e => Number(e.getAttribute('x1')))")
    assert lines == [pytest.approx(300 / 7), pytest.approx(400 / 7)]
    ticks = page.run("[...document.querySelectorAll('#times text')].map(e => e.textContent)")
    assert ticks[:2] == ["7 s", "8 s"] and "8" in page.run("document.querySelector('#khz').textContent")
    # The tone of 500 Hz is darkest in the window.
    dark = page.run(
        "(() => { const c = document.querySelector('#mels'), own = document.createElement('canvas');"
        " [own.width, own.height] = [c.width, c.height]; const paint = own.getContext('2d');"
        " paint.drawImage(c, 0, 0); const {data} = paint.getImageData(0, 0, c.width, c.height);"
        " return Array.from({length: c.width}, (_, x) => Math.min(...Array.from({length: c.height},"
        " (_, y) => data[4 * (y * c.width + x)]))); })()"
    )
    loud = np.flatnonzero(np.array(dark) < (min(dark) + max(dark)) / 2) / len(dark) * 7 + 7
    assert loud.min() == pytest.approx(10, abs=0.06) and loud.max() == pytest.approx(11, abs=0.06)
    page.click("#mels")  # its middle
    assert page.run(SEEK) == pytest.approx(10.5, abs=0.1)
    assert page.run("document.activeElement.id") != "seek"
    page.press(" ")
    page.until(f"!heard.paused && {SEEK} > 10.7 && (heard.currentTime = 6.9)")  # at once, before it ends by itself
    page.until(f"heard.ended && {SEEK} === 10")  # back to the window
    page.run("document.querySelector('#seek').focus()")
    page.press("ArrowLeft")  # moves the playhead, and skips nothing
    assert page.run(SEEK) < 10 and page.run(TEXT % "what") == "r0.wav"
    assert page.errors == []


def test_keys_that_come_before_a_slow_answer(show: Any, session: FakeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    session.labels = ["dog", "cat"]
    page = show()
    is_shown(page, "r0.wav")
    gate = threading.Event()
    answer = FakeSession.answer

    def wait(*given: Any) -> None:
        gate.wait(browser.PATIENCE)
        answer(*given)

    monkeypatch.setattr(FakeSession, "answer", wait)
    for key in ("y", "y", "n", "ArrowRight", "4", "ArrowDown"):
        page.press(key)
    assert page.run(TEXT % "state") == "Saving" and page.run(TEXT % "what") == "r0.wav"
    gate.set()
    page.until(PRESSED % "labels" + " === 'cat' && " + PRESSED % "ways" + " === 'Highest score'")
    is_shown(page, "r7.wav")
    # What was pressed for a candidate that nobody had seen is no answer; the choices are done in turn.
    assert session.answers == [(0, "dog", "yes", "uncertain")]
    assert page.errors == []


def test_what_goes_wrong_is_a_message_and_the_page_goes_on(show: Any, session: FakeSession) -> None:
    session.labels = ["dog"]
    (session.folder / "r1.wav").unlink()
    page = show()
    is_shown(page, "r0.wav")
    session.is_full = True
    page.press("y")
    assert "No space left on device" in page.until(TROUBLE)
    assert page.run(COUNTS) == ["0 yes, 0 no, 0 not sure"] and page.run(TEXT % "what") == "r0.wav"
    session.is_full = False
    page.press("y")  # and now a recording that was deleted
    assert page.until(TROUBLE + ".startsWith('r1.wav') && document.querySelector('#trouble').textContent").endswith(
        "r1.wav is no longer there: put it back, or skip it. Skip it with →, or choose another."
    )
    page.press("n")
    page.press(" ")
    page.until(TROUBLE)
    assert len(session.answers) == 1
    press(page, "ArrowRight", SHOWN % "r2.wav")
    assert page.run("document.querySelector('#trouble').hidden")
    page.press("z")
    is_shown(page, "r0.wav")
    for key in "yyyyyyy":  # the last of them for a candidate that does not come
        page.press(key)
        page.until("document.querySelector('#state').textContent === ''")
    page.errors.clear()  # Chromium logs each status of 400 and more


def test_when_nothing_is_left(show: Any, session: FakeSession) -> None:
    session.labels = ["dog"]
    session.windows = session.windows[:1]
    page = show()
    is_shown(page, "r0.wav")
    press(page, "y", TEXT % "question" + " === 'No window is left for dog.'")
    for key in ("y", "ArrowRight", " "):
        page.press(key)
    assert page.run("document.querySelector('#plot').hidden") and len(session.answers) == 1
    press(page, "z", SHOWN % "r0.wav")
    assert page.errors == []


def test_answers_of_another_page_show_up(show: Any, session: FakeSession) -> None:
    session.labels = ["dog"]
    page = show()
    is_shown(page, "r0.wav")
    session.answers += [(1, "dog", "no", "top"), (2, "dog", "yes", "top")]
    session.labels.append("cat")
    page.until(f"{COUNTS}[0] === '1 yes, 1 no, 0 not sure' && {NAMES}.length === 2")
    page.until("document.querySelector('#following').textContent.startsWith('0:10.0 r3.wav')")
    assert page.run(TEXT % "what") == "r0.wav"
    assert page.run(TEXT % "announcement").startswith("Answers came from another page. dog: 1 yes, 1 no")
    assert page.errors == []


def test_a_look_at_other_pages_that_is_answered_late_does_not_undo_an_answer(
    show: Any, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.labels = ["dog"]
    page = show()
    is_shown(page, "r0.wav")
    looks = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/api/state')).length"
    state = FakeSession.state
    reached, gate = threading.Event(), threading.Event()

    def late(own: FakeSession) -> State:
        found = state(own)
        if not reached.is_set():
            reached.set()
            gate.wait(browser.PATIENCE)
        return found

    monkeypatch.setattr(FakeSession, "state", late)
    assert reached.wait(browser.PATIENCE)
    press(page, "y", SHOWN % "r1.wav")
    gate.set()
    page.until(f"{looks} >= 3")  # the first, the one that was held, and the next
    assert page.run(TEXT % "announcement").startswith("Answered yes. dog: 1 yes")
    assert page.run(COUNTS) == ["1 yes, 0 no, 0 not sure"]
    assert page.errors == []


def test_an_address_without_its_token_shows_a_message(tab: browser.Page, server: LabelServer) -> None:
    root = server.address.partition("#")[0]
    tab.open("about:blank")
    tab.open(root)
    assert "open the whole address" in tab.until(TROUBLE)
    tab.open("about:blank")
    tab.open(f"{root}#wrong")
    assert "token is missing or wrong" in tab.until(TROUBLE)
    assert tab.run("document.querySelector('#work').hidden")

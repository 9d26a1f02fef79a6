"""The pages in a headless Chromium, at the width of a screen and of a phone, with the network off."""

import base64
import io
from pathlib import Path

import pytest
import soundfile

from helpers import browser
from helpers.pages import Page as Written
from helpers.report_pages import LONG, write_pages

pytest.importorskip("sklearn")
EXECUTABLE = browser.find()
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(EXECUTABLE is None, reason=f"none of {', '.join(browser.NAMES)} is installed"),
]
SIZES = {"screen": (1280, 900, False), "phone": (390, 844, True)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.browser(EXECUTABLE, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


def open_page(page: browser.Page, file: Path, size: str, dark: bool = False) -> None:
    page.errors.clear()
    page.requests.clear()
    width, height, touch = SIZES[size]
    page.show(width, height, dark, touch)
    page.open(file)
    page.run(browser.PLAYED_ON)


def assert_calm(page: browser.Page) -> None:
    """No error, no request, and no horizontal overflow."""
    assert page.errors == []
    assert page.requests and all(address.startswith(("file:", "data:")) for address in page.requests)
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def now_playing(page: browser.Page) -> tuple[str, str]:
    """The clip that is played, and the address of its sound, once it has got on."""
    page.until("player.currentTime > 0.02")
    return page.run("player.dataset.clip"), page.run("player.src")


def stop(page: browser.Page) -> None:
    page.until("(player.pause(), player.paused)")


@pytest.mark.parametrize("kind", ["run", "pretraining", "evaluation", "support", "sweep", "long"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_calm(page, pages, kind, size, dark):
    open_page(page, pages[kind], size, dark)
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert_calm(page)
    drawn = page.run("[...document.querySelectorAll('svg.figure')].filter((one) => one.clientWidth > 0).length")
    assert (
        drawn == {"run": 1, "pretraining": 0, "evaluation": 0, "support": 4, "sweep": 2, "long": 1}[kind]
    )  # that for the other width is not seen
    light = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, light[4:-1].split(","))) < 200) == dark


def test_long_names_wrap_and_nothing_is_cut(page, pages, size):
    open_page(page, pages["long"], size)
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    cut = page.run(
        "[...document.querySelectorAll('h1, h2, h3, dt, dd, p, td, th, li, .chip, .name, .what')].filter(e =>"
        " e.checkVisibility() && !e.matches('.hide') && getComputedStyle(e).overflowX === 'visible' &&"
        " e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map(e => e.outerHTML.slice(0, 80))"
    )
    assert cut == []
    names = page.run("[...document.querySelectorAll('tbody th')].map(e => e.firstChild.textContent)")
    assert f"{LONG}/0.wav" in names


def test_ticks_differ_however_small_the_range(page, pages):
    open_page(page, pages["long"], "screen")  # the loss falls by a few millionths
    for chart in (1, 2):
        box = f"figure.curves:nth-of-type({chart}) .chart text[text-anchor=end]"
        ticks = page.run(f"[...document.querySelectorAll('{box}')].map(e => e.textContent)")
        assert len(ticks) > 3 and len(set(ticks)) == len(ticks)
        left = page.run(f"Math.min(...[...document.querySelectorAll('{box}')].map(e => e.getBBox().x))")
        assert left >= 0
        keys = page.run(
            f"[...document.querySelectorAll('figure.curves:nth-of-type({chart}) .keys b')].map(e => e.textContent)"
        )
        assert len(set(keys)) == 2


def test_a_table_that_is_too_wide_scrolls_by_itself_and_shows_it(page, pages):
    open_page(page, pages["evaluation"], "phone")
    shown = page.run(
        "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility()).map(e => [e.tabIndex,"
        " e.getAttribute('role'), e.getAttribute('aria-label'), e.scrollWidth > e.clientWidth, "
        " getComputedStyle(e).backgroundAttachment])"
    )
    assert any(wide for *_, wide, _ in shown)
    for focus, role, label, _, shadows in shown:
        assert (focus, role) == (0, "region") and label.startswith("Table of ")
        assert shadows == "local, local, scroll, scroll"
    assert len({label for _, _, label, *_ in shown}) == len(shown)


def test_the_chosen_names_of_a_matrix_are_not_cut_though_bold(page, pages, size):
    open_page(page, pages["evaluation"], size)
    page.run("document.getElementById('cells').focus()")
    for _ in range(12):
        page.press("ArrowDown")
        assert page.run("Math.min(...[...document.querySelectorAll('#cells .row')].map(e => e.getBBox().x))") >= 0
        page.press("ArrowRight")
        assert page.run(
            "Math.max(...[...document.querySelectorAll('#cells .column')].map(e => e.getBBox().width)) + 8"
        ) <= (page.run("Number(document.querySelector('#cells .ground').getAttribute('y'))"))


def test_long_names_of_a_matrix_wrap_and_have_the_whole_name_as_title(page, pages, size, tmp_path):
    name = "Brown_long_eared_bat_calling_over_the_water_at_dusk"
    file = tmp_path / "long.html"
    file.write_text(pages["evaluation"].read_text().replace('"bass"', f'"{name}"'))
    open_page(page, file, size)
    names = "[...document.querySelectorAll('#cells .name%s')].filter(e => e.querySelector('title').textContent === %r)"
    boxes = "(({left, right, top, bottom}) => [left, right, top, bottom])(%s.getBoundingClientRect())"
    side = page.run("Number(document.querySelector('#cells .frame').getAttribute('width'))")
    for kind in (".row", ".column"):
        assert page.run(f"{names % (kind, name)}.length") == 1
        lines = page.run(f"[...{names % (kind, name)}[0].querySelectorAll('tspan')].map(e => e.textContent)")
        shown = "".join(lines)
        if size == "phone":  # cells are too small for a second line
            assert len(lines) == 1 and shown.endswith("…") and name.startswith(shown[:-1])
        else:
            assert len(lines) > 1 and lines[0].endswith("_")
            assert shown == name or (shown.endswith("…") and name.startswith(shown[:-1]))
        left, right, top, bottom = page.run(boxes % f"{names % (kind, name)}[0]")
        assert (bottom - top if kind == ".row" else right - left) <= side + 2
    assert page.run("Math.min(...[...document.querySelectorAll('#cells .row')].map(e => e.getBBox().x))") >= 0
    assert_calm(page)


def test_further_groups_share_a_colour_and_the_page_says_so(page, pages):
    open_page(page, pages["long"], "screen")
    colours = page.run("[...document.querySelectorAll('#chips path')].map(e => e.style.fill)")
    assert len(colours) == 23 and len(set(colours)) == 10 and colours.count("var(--c9)") == 14
    assert page.run("document.getElementById('others').textContent") == (
        "The 9 largest groups have a colour each; the other 14 share one."
    )
    open_page(page, pages["run"], "screen")
    assert page.run("document.getElementById('others').hidden")


def test_a_click_on_a_point_plays_its_clip(page, pages, size):
    data = Written(pages["evaluation"].read_text()).data()
    open_page(page, pages["evaluation"], size)
    for i in (3, 77):
        page.click(f"#stage path[data-i='{i}']")
        # Points may overlap: the page names the one that was chosen.
        clip, src = now_playing(page)
        chosen = data["maps"][0]["id"].index(clip)
        assert src == data["sounds"]["uri"][data["maps"][0]["sound"][chosen]]
        assert page.run("document.getElementById('clip').textContent") == clip
        assert page.run("document.getElementById('go').getAttribute('aria-label')") == "Stop"
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(src.partition(",")[2])))
        assert page.run("player.duration") == pytest.approx(len(sound) / rate, abs=0.1)
    stop(page)
    assert_calm(page)


def test_the_map_of_the_other_model_keeps_the_clip(page, pages):
    open_page(page, pages["evaluation"], "screen")
    page.click("#stage path[data-i='5']")
    clip, _ = now_playing(page)
    before = page.run("document.querySelector('#stage .ring').parentElement.getAttribute('transform')")
    choose(page, "whose", 1)
    assert page.run("player.paused") and page.run("document.getElementById('clip').textContent") == clip
    assert page.run("document.querySelector('#stage .ring').parentElement.getAttribute('transform')") != before
    choose(page, "mode", 2)
    chips = page.run("[...document.querySelectorAll('#chips .chip')].map((one) => one.textContent)")
    assert sorted(chip.split()[0] for chip in chips) == ["right", "wrong"]
    assert_calm(page)


def choose(page: browser.Page, select: str, place: int) -> None:
    page.run(
        f"(() => {{ const s = document.getElementById('{select}'); s.selectedIndex = {place};"
        " s.dispatchEvent(new Event('change')); })()"
    )


def test_a_cell_reports_its_count_and_plays_its_clips(page, pages, size):
    data = Written(pages["evaluation"].read_text()).data()
    closer = data["closer"]
    view = closer["views"]["0 0"]
    open_page(page, pages["evaluation"], size)
    truth, given, count = next(
        cell for cell in view["cells"] if cell[0] != cell[1] and cell[:2] != view["pairs"][0][:2]
    )
    place = [cell[:2] for cell in view["cells"]].index([truth, given])
    page.click(f"#cells > rect:nth-of-type({place + 2})")  # the first is the ground they stand on
    names = view["labels"]
    assert page.run("document.getElementById('cell').textContent") == f"{names[truth]} → {names[given]}"
    shown = page.run("document.getElementById('cell-what').textContent")
    total = sum(n for t, _, n in view["cells"] if t == truth)
    assert shown.startswith(f"{count} of {total} clip") and f"predicted as {names[given]}" in shown
    assert page.run("document.getElementById('matrix-status').textContent")  # for screen readers
    clips = [closer["clips"][m["clip"]] for m in view["mistakes"] if (m["truth"], m["given"]) == (truth, given)]
    assert page.run("[...document.querySelectorAll('#cell-clips .pair')].map((one) => one.textContent)") == clips
    page.click("#cell-clips button")
    clip, src = now_playing(page)
    sound = closer["sound"][closer["clips"].index(clip)]
    assert clip == clips[0] and src == data["sounds"]["uri"][sound]
    stop(page)
    assert_calm(page)


def test_the_worst_mistake_plays_and_stops_what_played_before(page, pages, size):
    data = Written(pages["evaluation"].read_text()).data()
    closer = data["closer"]
    open_page(page, pages["evaluation"], size)
    page.click("#stage path[data-i='9']")
    now_playing(page)
    page.click("#confident li:first-child button")
    view = closer["views"]["0 0"]
    worst = view["mistakes"][view["listed"][0]]
    page.until(f"player.dataset.clip === {closer['clips'][worst['clip']]!r}")
    clip, src = now_playing(page)
    assert src == data["sounds"]["uri"][closer["sound"][worst["clip"]]]
    assert page.run("document.getElementById('go').getAttribute('aria-label')") == "Play the clip"
    assert page.run("document.querySelector('#confident button').getAttribute('aria-label')") == f"Stop {clip}"
    page.click("#confident li:first-child button")
    page.until("player.paused")
    assert page.run("document.querySelector('#confident button').getAttribute('aria-label')") == f"Play {clip}"
    assert_calm(page)


def test_another_model_and_task_show_their_own(page, pages):
    closer = Written(pages["evaluation"].read_text()).data()["closer"]
    open_page(page, pages["evaluation"], "screen")
    choose(page, "closer-model", 2)
    choose(page, "closer-task", 1)
    view = closer["views"]["2 1"]
    assert page.run("document.querySelectorAll('#cells rect.right').length") == sum(t == g for t, g, _ in view["cells"])
    assert page.run("document.querySelectorAll('#cells rect.wrong').length") == sum(t != g for t, g, _ in view["cells"])
    best = max(score for score in view["scores"])
    assert page.run("document.querySelector('#label-bars .value').textContent") == f"{100 * best:.1f} %"
    wide = "parseFloat(getComputedStyle(document.querySelector('#label-bars .track i')).width)"
    track = "document.querySelector('#label-bars .track').clientWidth"
    assert page.run(f"{wide} / {track}") == pytest.approx(best, abs=0.01)
    assert f"{view['wrong']} of {view['clips']} clips" in page.run(
        "document.getElementById('mistakes-note').textContent"
    )
    assert_calm(page)


def test_keys_reach_everything(page, pages):
    open_page(page, pages["evaluation"], "screen")
    page.run("document.querySelector('svg.map').focus()")
    page.press("ArrowRight")
    page.press("Enter")
    first, _ = now_playing(page)
    page.press("ArrowLeft")
    page.until(f"document.getElementById('clip').textContent !== {first!r}")
    page.run("document.getElementById('cells').focus()")
    shown = page.run("document.getElementById('cell').textContent")
    page.press("ArrowDown")
    page.until(f"document.getElementById('cell').textContent !== {shown!r}")
    page.run(
        "document.getElementById('cells').dispatchEvent(new KeyboardEvent('keydown', { key: 'n', bubbles: true }))"
    )
    assert "→" in page.run("document.getElementById('cell').textContent")
    page.press("Enter")
    assert page.run("document.querySelector('#cell-clips .pair').textContent") == now_playing(page)[0]
    stop(page)
    reached = set()
    page.run("document.activeElement.blur()")
    for _ in range(80):
        page.press("Tab")
        reached.add(page.run("document.activeElement.id || document.activeElement.getAttribute('class')"))
    assert {"mode", "whose", "find", "cells", "closer-model", "closer-task", "go small", "chip", "scroll"} <= reached
    assert_calm(page)


def test_what_is_pointed_at_is_reported(page, pages):
    open_page(page, pages["evaluation"], "screen")
    x, y = page.run(
        "(() => { const e = document.querySelector('#cells rect.right'); e.scrollIntoView({ block: 'center' });"
        " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.until("!document.getElementById('matrix-tip').hidden")
    assert "are correct (" in page.run("document.getElementById('matrix-tip').textContent")
    open_page(page, pages["run"], "screen")
    x, y = page.run(
        "(() => { const e = document.querySelector('.chart svg'); e.scrollIntoView({ block: 'center' });"
        " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.until("document.querySelector('.chart .tip').textContent === 'epoch 2'")
    assert page.run("document.querySelector('.keys b').textContent") == "0.5"
    assert_calm(page)


def test_names_are_never_markup(page, tmp_path):
    from helpers.results_fixture import LABELS, model, task, write_embeddings, write_predictions, write_results
    from sondino.reporting.report import report

    evil = "<img src=x onerror=document.title='run'></script><script>document.title='run'</script>\"'"
    paths = [f"{evil} {i}.wav" for i in range(12)]
    rows = [{"path": p, "truth": evil, "predicted": f"not {evil}", "probability": 0.5, "fold": 1} for p in paths]
    write_predictions(tmp_path / "p.csv", rows)
    write_embeddings(tmp_path / "v.npz", paths, [LABELS[0]] * 12, 1.0, 0)
    score = {
        "model": evil,
        "task": evil,
        "value": 0.5,
        "predictions": "p.csv",
        "vectors": "v.npz",
        "per_label": {evil: 1},
    }
    models, own = [model(evil, "student")], task(evil, evil, labels=[evil], classes=2)
    write_results(tmp_path, kind="evaluation", title=evil, tasks=[own], models=models, scores=[score])
    with pytest.warns(UserWarning, match="could not be read: 12"):
        file = report(tmp_path)
    open_page(page, file, "phone")
    page.click("#cells rect.wrong")
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.run("document.title") == evil and page.run("document.images.length") == 0
    assert_calm(page)


def test_a_script_that_is_not_ours_does_not_run(page, pages, tmp_path):
    """The policy of the page knows its script by its hash."""
    text = pages["run"].read_text().replace("<main>", "<main><script>window.ran = 1</script>")
    (tmp_path / "page.html").write_text(text)
    open_page(page, tmp_path / "page.html", "screen")
    assert page.run("window.ran") is None
    assert any("Content Security Policy" in error for error in page.errors)

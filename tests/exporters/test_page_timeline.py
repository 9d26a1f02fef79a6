"""The page's picture of a clip along time, in Chromium: its axes, its playhead, and its labels against Python's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from helpers import browser
from helpers.demo_page import (
    CLIPS,
    NEEDS,
    READY,
    TOLERANCE,
    assert_same,
    choose_file,
    entries,
    faults,
    music,
    served,
    tone,
)
from helpers.page_bundle import DIM, LABELS, write_page_bundle
from sondino.encoder.unlike import Unlike, distances
from sondino.exporters.web import export_web
from sondino.model.model import Model

pytestmark = NEEDS
HEIGHTS = "['#mels', '#khz', '#wave', '#tracks .strip'].map(s => document.querySelector(s).clientHeight)"
CATCH = "window.Audio = class extends Audio { constructor() { super(); window.heard = this; } };"
BOX = "document.querySelector('%s').getBoundingClientRect()"
PIXELS = """(() => { const c = document.querySelector('%s'), own = document.createElement('canvas');
  [own.width, own.height] = [c.width, c.height]; const paint = own.getContext('2d', {willReadFrequently: true});
  paint.drawImage(c, 0, 0); const {data} = paint.getImageData(0, 0, c.width, c.height);
  const row = (y) => Array.from({length: c.width}, (_, x) => data[4 * (y * c.width + x)]);
  return Array.from({length: c.height}, (_, y) => row(y)); })()"""
"""The red of each pixel of a canvas (rows, columns): of the log-mel's colours it falls the louder they are."""


def test_the_axes_name_the_frequency_and_the_time_of_a_tone(page: browser.Page, tmp_path: Path) -> None:
    page.drop("#wave", tone(tmp_path / "tone.wav", 4000))
    entries(page, 2)
    dark = 255.0 - np.array(page.run(PIXELS % "#mels"), np.float64)  # (rows, columns)
    box = page.run("(({x, y, width, height}) => [x, y, width, height])(" + BOX % "#mels" + ")")
    row = box[1] + (dark.mean(axis=1).argmax() + 0.5) / len(dark) * box[3]
    brightest = dark[dark.mean(axis=1).argmax()]
    column = box[0] + (brightest > brightest.mean()).argmax() / dark.shape[1] * box[2]

    def tick(axis: str, text: str) -> list[float]:
        return page.run(
            f"(() => {{ const t = [...document.querySelectorAll('#{axis} text')].find(e => e.textContent === {text!r});"
            " const b = t.previousElementSibling.getBoundingClientRect(); return [b.x, b.y]; })()"
        )

    assert abs(row - tick("khz", "4")[1]) < 1.5 * box[3] / 128
    assert abs(column - tick("times", "2 s")[0]) < 0.04 / 4 * box[2] + 1  # a frame
    shown = page.run("[...document.querySelectorAll('#times text')].map(e => e.textContent)")
    assert shown == ["0 s", "1 s", "2 s", "3 s", "4 s"]


def test_the_playhead_moves_with_the_sound_and_seeks(tabs: Any, address: str, tmp_path: Path) -> None:
    seek = "document.querySelector('#seek')"
    with tabs() as page:
        page.call("Page.addScriptToEvaluateOnNewDocument", source=CATCH)
        page.open(address)
        page.until(READY)
        page.drop("#wave", tone(tmp_path / "tone.wav", 440, 20))
        entries(page, 2)
        assert page.run(f"[{seek}.value, {seek}.max]") == ["0", "20"]
        page.click("#mels")  # its middle
        assert page.run(f"Number({seek}.value)") == pytest.approx(10, abs=0.1)
        assert page.run(f"document.activeElement === {seek}")
        page.press("ArrowRight")
        assert page.run(f"Number({seek}.value)") == pytest.approx(10.4, abs=0.1)
        page.press("ArrowLeft")
        page.press("ArrowLeft")
        assert page.run(f"{seek}.getAttribute('aria-valuetext')") == "9.6 s of 20 s"
        page.press(" ")
        page.until("!heard.paused && heard.currentTime > 9.7")
        page.until(f"Math.abs({seek}.value - heard.currentTime) < 0.1 && {seek}.value > 9.7")
        assert page.run("document.querySelector('#play').getAttribute('aria-label')") == "Pause tone.wav"
        x, y, width = page.run(f"(({{x, y, width}}) => [x, y, width])({BOX % '#tracks .strip'})")
        page.click_at(x + width / 4, y + 5)  # a label's track, while the sound plays
        page.until("heard.currentTime >= 4.9 && heard.currentTime < 8 && !heard.paused")
        page.press(" ")
        page.until("heard.paused")
        place = page.run("heard.currentTime")
        # The playhead is where the last frame has drawn it; frames of a busy machine are far apart.
        assert page.run(f"Number({seek}.value)") == pytest.approx(place, abs=1)
        page.run("heard.loop = true")
        page.click("#near .go")  # another sound, from its start, which is shorter than a busy machine's look at it
        page.until("!heard.paused && heard.duration < 10")
        page.run("heard.loop = false")
        page.click("#play")
        page.until(f"heard.duration === 20 && heard.currentTime >= {place} - 1 && heard.currentTime < {place} + 2")
        page.run("heard.currentTime = 19.9")
        page.until("heard.ended")
        page.until(f"{seek}.value === '0'")
        assert faults(page) == []


def test_the_picture_keeps_its_size_however_often_the_window_changes(page: browser.Page, tmp_path: Path) -> None:
    drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    page.drop("#wave", tone(tmp_path / "tone.wav", 440))
    entries(page, 2)
    heights = page.run(HEIGHTS)
    assert 220 <= heights[0] < 700 and heights[0] == heights[1]
    for width in (390, 900, 360, 1600, 1280):
        page.show(width, 900)
        page.until(f"innerWidth === {width}")
        page.run(drawn)
        page.run("document.querySelector('#sounds').dispatchEvent(new Event('change'))")  # draws again
        assert page.run(HEIGHTS)[0] < 700
    page.show(1280, 800)
    page.run(drawn)
    assert page.run(HEIGHTS) == heights


def test_labels_over_time_are_those_of_the_windows(page: browser.Page, bundle: Path, tmp_path: Path) -> None:
    file, model = tmp_path / "clip.wav", Model(bundle)
    assert model.head is not None
    samples = np.concatenate([music(int(32000 * s), 32000, i) * (0.2 + i) for i, s in enumerate((1, 1.5, 0.7))])
    soundfile.write(file, np.clip(samples, -1, 1), 32000, "FLOAT")
    page.drop("#wave", file)
    entries(page, 2)
    windows, starts = model.embed_windows(file)
    expected = model.head.probabilities(windows)
    tracks = page.run("sondino.entries[1].result.tracks.map(t => ({...t, values: [...t.values]}))")
    order = np.argsort(-expected.max(axis=0), kind="stable")
    assert [track["label"] for track in tracks] == [LABELS[i] for i in order]
    for track, i in zip(tracks, order, strict=True):
        assert np.abs(np.array(track["values"]) - expected[:, i]).max() < TOLERANCE
        assert track["highest"] == expected[:, i].argmax()
    stretches = page.run("sondino.entries[1].result.stretches")
    ends = np.minimum(starts + 1, 3.2)
    assert stretches == [{"start": a, "end": pytest.approx(b)} for a, b in zip(starts, ends, strict=True)]
    assert page.run("[...document.querySelectorAll('#tracks .label')].map(e => e.textContent)") == [
        LABELS[i] for i in order
    ]
    left, right = (page.run(f"(({{x, width}}) => [x, width])({BOX % name})") for name in ("#mels", "#tracks .strip"))
    assert left == right  # one axis of time


def test_labels_of_unlike_windows_are_hidden(tabs: Any, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "clip.wav"
    samples = np.concatenate([music(32000, 32000, i) * (0.2 + i) for i in range(4)])
    soundfile.write(file, np.clip(samples, -1, 1), 32000, "FLOAT")
    windows, _ = Model(bundle).embed_windows(file)
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, 2)))[0].T
    score = Unlike(windows[:1], directions, np.array([3, 2, 1.0]), np.arange(2))  # type: ignore[arg-type]
    far = distances(windows, score.means, score.directions, score.variances)
    assert far[0] == 0 and np.argmax(far) != 0
    score = replace(score, quantiles=np.array([0, np.sort(far)[1:3].mean(), 2 * far.max()]))  # half of them over 0.5
    scored = write_page_bundle(tmp_path / "scored", unlike=score)
    expected = score.scores(windows)
    assert (expected > 0.5).tolist().count(True) == 2
    rows = "[...document.querySelectorAll('#tracks li:not([hidden])')]"
    with served(export_web(scored, tmp_path / "page", gallery=CLIPS)) as address, tabs() as page:
        page.open(address)
        page.until(READY)
        page.drop("#wave", file)
        entries(page, 2)
        found = page.run("[...sondino.entries[1].result.scored.unlike]")
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        whole = float(score.scores(Model(scored).embed(file))[0])
        assert page.run("sondino.entries[1].result.unlike") == pytest.approx(whole, abs=TOLERANCE)
        assert page.run("document.querySelector('#most-text').textContent") == "100 %"
        assert page.run("document.querySelector('#labels-note').textContent").endswith(
            f"Unlike the training clips: {round(100 * whole)} %."
        )
        last = f"{rows}.at(-1)"
        assert page.run(f"{last}.textContent").startswith(f"Unlike the training clips{round(100 * max(expected))} %")
        assert page.run(f"{rows}.length") == len(LABELS) + 1
        strip = np.array(page.run(PIXELS % "#tracks li:first-child canvas"))[7]
        middles = [int((place + 0.5) * len(strip) / 4) for place in range(4)]
        slide = "(() => { most.value = %d; most.dispatchEvent(new Event('input')); })()"
        page.run(slide % 50)
        after = np.array(page.run(PIXELS % "#tracks li:first-child canvas"))[7]
        probabilities = Model(scored).head.probabilities(windows)  # type: ignore[union-attr]
        kept = expected <= 0.5
        best = int(probabilities[kept].max(axis=0).argmax())
        assert page.run("document.querySelector('#tracks .label').textContent") == LABELS[best]
        assert [bool(after[middle] != 0) for middle in middles] == kept.tolist()
        assert page.run("document.querySelector('#labels-note').textContent").endswith(
            "labels hidden." if whole > 0.5 else f"{round(100 * whole)} %."
        )
        page.run(slide % 0)
        assert page.run(f"{rows}.length") == 1  # the score itself
        assert page.run("[...document.querySelectorAll('#labels li')].every((row) => row.hidden)")
        assert faults(page) == []


def test_the_model_in_the_package_labels_a_file_as_classify_does(tabs: Any, tmp_path: Path) -> None:
    from sondino.embedding.detect import detect_files
    from sondino.pretrained.load import load

    model = load("sondino-small")
    sound = np.concatenate([soundfile.read(file)[0] for file in sorted(CLIPS.glob("*.ogg"))])
    soundfile.write(tmp_path / "clips.wav", sound, soundfile.info(next(CLIPS.glob("*.ogg"))).samplerate, "FLOAT")
    recordings = []
    detect_files(tmp_path / "clips.wav", model, min_confidence=0, top=1, show=recordings.append)
    expected = recordings[0].detections
    with served(export_web(model.folder, tmp_path / "page", gallery=CLIPS)) as address, tabs() as page:
        page.open(address)
        page.until(READY)
        choose_file(page, tmp_path / "clips.wav")
        row = entries(page, 2)[1]
        assert_same(row["vector"], model.embed(tmp_path / "clips.wav")[0])
        stretches, tracks = page.run(
            "[sondino.entries[1].result.stretches, sondino.entries[1].result.tracks.map(t => [t.label, [...t.values]])]"
        )
        assert len(expected) == len(stretches) > 2
        for place, found in enumerate(expected):  # the first label of each window
            assert stretches[place] == {"start": pytest.approx(found.start), "end": pytest.approx(found.end)}
            label, values = max(tracks, key=lambda track: track[1][place])
            if found.label in {track[0] for track in tracks}:
                assert (label, values[place]) == (found.label, pytest.approx(found.probability, abs=TOLERANCE))
        # The shade of each window is the legend's for its probability.
        scale = np.array(page.run(PIXELS % "#scale"))[5]
        for number, (_, values) in enumerate(tracks):
            strip = np.array(page.run(PIXELS % f"#tracks li:nth-child({number + 1}) canvas"))[7]
            for value, stretch in zip(values, stretches, strict=True):
                middle = (stretch["start"] + stretch["end"]) / 2 / stretches[-1]["end"]
                shade = int(strip[int(middle * len(strip))])
                assert abs(shade - int(scale[int(np.sqrt(value) * (len(scale) - 1))])) < 12
        best = max(expected, key=lambda found: found.probability)
        assert tracks[0][0] == best.label == page.run("document.querySelector('#tracks .label').textContent")
        labels = page.run("[...document.querySelectorAll('#labels li')].map(e => e.textContent)")
        assert model.head is not None
        for (label, probability), shown in zip(
            model.head.top(model.classify(tmp_path / "clips.wav")[0], 5), labels, strict=True
        ):
            assert shown.startswith(label) and abs(probability - int(shown[len(label) : -2].strip("<")) / 100) < 0.011
        assert faults(page) == []

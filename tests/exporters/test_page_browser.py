"""The page in a headless Chromium: a file dropped and a microphone give Python's embeddings; mistakes give messages."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from helpers import browser
from helpers.accessible import least_contrast
from helpers.demo_page import FAKE, NEEDS, READY, TROUBLE, assert_same, entries, faults, music, served
from helpers.page_bundle import LABELS
from sondino.model.model import Model

pytestmark = NEEDS


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(44100, 2, "PCM_16"), (48000, 1, "FLOAT"), (32000, 2, "PCM_24")]
)
def test_a_dropped_wav_has_pythons_vector(
    page: browser.Page, bundle: Path, tmp_path: Path, rate: int, channels: int, subtype: str
) -> None:
    file = tmp_path / 'müsic, "one" #2.wav'
    soundfile.write(file, music(int(2.4 * rate), rate)[:, :channels], rate, subtype)
    page.drop("#wave", file)
    row = entries(page, 2)[1]
    model = Model(bundle, resample="always")
    assert_same(row["vector"], model.embed(file)[0])
    windows, starts = model.embed_windows(file)
    assert row["starts"] == starts.tolist()
    assert_same(row["windows"], windows.ravel())
    assert page.run("document.querySelector('#what').textContent") == file.name
    expected = model.head.top(model.classify(file)[0], 1)[0] if model.head else None
    shown = page.run("document.querySelector('#labels li').textContent")
    assert expected and shown == f"{expected[0]}{round(100 * expected[1])} %"


def test_compressed_files_and_several_at_once(page: browser.Page, bundle: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.flac", "b.ogg", "c.wav")]
    for number, file in enumerate(files):
        soundfile.write(file, music(30000 + 1000 * number, 44100, number), 44100)
    page.drop("#wave", *files)
    rows = entries(page, 4)[1:]
    assert [row["name"] for row in rows] == ["a.flac", "b.ogg", "c.wav"]
    for row, expected in zip(rows, Model(bundle, resample="always").embed(list(files)), strict=True):
        assert_same(row["vector"], expected)


def test_the_gallery_is_compared_with(page: browser.Page, bundle: Path, page_folder: Path) -> None:
    facts = json.loads((page_folder / "model" / "model.json").read_text())
    names = [clip["name"] for clip in facts["gallery"]]
    vectors = np.fromfile(page_folder / "model" / "gallery.bin", "<f4").reshape(len(names), -1).astype(np.float64)
    first = entries(page, 1)[0]
    own = names.index(first["name"])
    assert own == facts["first"]
    assert_same(first["vector"], vectors[own].astype(np.float32))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit[own]
    order = [i for i in np.argsort(-cosines) if i != own]
    rows = page.run(
        "[...document.querySelectorAll('#near li:not([hidden])')].map(r => [r.querySelector('b').textContent,"
        " r.querySelector('.value').textContent])"
    )
    assert rows == [[names[i], f"{cosines[i]:.2f}"] for i in order[:5]]
    page.click("#near li .name")
    assert entries(page, 2)[1]["name"] == names[order[0]]
    # All of its sounds are fetched, so that they play without the network.
    page.until(
        f"performance.getEntriesByType('resource').filter(e => e.name.includes('/gallery/')).length >= {len(names)}"
    )
    page.run(browser.PLAYED_ON)
    page.run("document.querySelector('#near .go').click()")
    page.until("document.querySelector('#near .go').getAttribute('aria-label').startsWith('Stop ')")


def test_vectors_are_saved_as_embed_writes_them(page: browser.Page, bundle: Path) -> None:
    page.run(
        "window.saved = []; URL.createObjectURL = (blob) => { if (/csv|json/.test(blob.type)) saved.push(blob.text());"
        " return 'blob:none'; };"
        "HTMLAnchorElement.prototype.click = function () { saved.push(this.download); }"
    )
    page.click("#csv")
    page.click("#json")
    table, name, text, other = page.run("Promise.all(saved)")
    assert (name, other) == ("embeddings.csv", "embeddings.json")
    head, row = csv.reader(io.StringIO(table))
    vector = entries(page, 1)[0]["vector"]
    assert head[:2] == ["id", "v0"]
    assert np.array_equal(np.array(row[1:], np.float32), np.array(vector, np.float32))
    reported = json.loads(text)
    assert reported["model"] == "page-test"
    assert np.array_equal(np.float32(reported["sounds"][0]["vector"]), np.float32(vector))


def test_files_that_are_no_sound_get_a_message_and_the_others_are_embedded(page: browser.Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), 32000)
    soundfile.write(tmp_path / "good.wav", music(20000, 32000), 32000)
    page.drop("#wave", *(tmp_path / name for name in ("notes.txt", "empty.wav", "none.wav", "good.wav")))
    assert entries(page, 2)[1]["name"] == "good.wav"
    trouble = page.until(TROUBLE)
    assert "notes.txt is not audio that this browser can decode" in trouble
    assert "empty.wav is not audio" in trouble
    assert "none.wav: holds no sound." in trouble
    assert page.run("document.querySelector('#trouble').getAttribute('role')") == "alert"


def test_a_wav_whose_header_is_wrong_is_read_whole_and_a_note_is_shown(
    page: browser.Page, bundle: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, music(64000, 32000)[:, 0], 32000)
    content = whole.read_bytes()
    for name, size in (("never.wav", 0), ("small.wav", 32000)):
        (tmp_path / name).write_bytes(content[:40] + size.to_bytes(4, "little") + content[44:])
    (tmp_path / "two.wav").write_bytes(2 * content)
    page.drop("#wave", *(tmp_path / name for name in ("never.wav", "small.wav", "two.wav")))
    rows = entries(page, 4)[1:]
    assert [row["seconds"] for row in rows] == [2, 2, 4]
    for row in rows[:2]:
        assert_same(row["vector"], Model(bundle, resample="always").embed(whole)[0])
    assert page.until(TROUBLE) == (
        "never.wav: its header was never finished; all 2.00 s after it are read. "
        "small.wav: its header says 0.50 s, 2.00 s are there and are read. "
        "two.wav: 2 sounds follow one another in this file; all are read."
    )


@pytest.mark.parametrize("suffix", ["ogg", "flac"])
def test_sounds_put_together_are_all_read(page: browser.Page, bundle: Path, tmp_path: Path, suffix: str) -> None:
    rate, parts = 44100, []
    for number, samples in enumerate((40000, 70000)):
        soundfile.write(tmp_path / f"{number}.{suffix}", music(samples, rate, number)[:, 0], rate)
        parts.append(tmp_path / f"{number}.{suffix}")
    both = tmp_path / f"both.{suffix}"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    page.drop("#wave", both)
    row = entries(page, 2)[1]
    assert row["seconds"] == 110000 / rate
    expected = np.concatenate([soundfile.read(part, dtype="float32")[0] for part in parts])
    assert_same(row["vector"], Model(bundle, resample="always").embed([(expected, rate)])[0])
    assert page.until(TROUBLE) == f"{both.name}: 2 sounds follow one another in this file; all are read."


def test_the_sound_of_a_video_is_decoded_at_its_own_rate(page: browser.Page, bundle: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    rate, file = 44100, tmp_path / "video.mp4"
    samples = music(2 * rate, rate)[:, 0].copy()
    with av.open(file, "w") as output:
        video = output.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        audio = output.add_stream("aac", rate=rate, layout="mono", bit_rate=192000)
        for number in range(50):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * number, np.uint8), format="rgb24")
            output.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate = rate
        for packet in [*video.encode(None), *audio.encode(sound), *audio.encode(None)]:
            output.mux(packet)
    page.drop("#wave", file)
    row = entries(page, 2)[1]
    assert abs(row["seconds"] - 2) < 0.05
    got, expected = np.array(row["vector"]), Model(bundle, resample="always").embed((samples, rate))
    # Decoded at 12.8 kHz, the time scale of the picture, it would be 0.981.
    assert got @ expected.ravel() > 0.999 * np.linalg.norm(got) * np.linalg.norm(expected)


def test_everything_is_reached_with_the_keyboard(page: browser.Page) -> None:
    page.run("document.body.tabIndex = -1; document.body.focus()")
    seen = []
    for _ in range(60):
        page.press("Tab")
        if page.run("document.activeElement === document.body"):
            break
        seen.append(page.run("document.activeElement.id || document.activeElement.className"))
        outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or seen[-1] == "skip", seen
    for name in ("skip", "choose", "listen", "play", "go small", "name", "copy", "json", "csv"):
        assert name in seen, seen
    page.run("document.querySelector('#near .name').focus()")
    wanted = page.run("document.activeElement.querySelector('b').textContent")
    page.press("Enter")
    assert entries(page, 2)[1]["name"] == wanted
    assert wanted in page.until("document.querySelector('#announcement').textContent")
    assert page.run("document.querySelector('#announcement').getAttribute('role')") == "status"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_its_window_and_can_be_read(page: browser.Page, width: int, dark: bool) -> None:
    page.show(width, 800, dark, touch=width < 500)
    page.run("document.querySelector('#gallery').open = true")
    assert page.run("document.documentElement.scrollWidth") <= width
    ratio, where = least_contrast(page)
    assert ratio >= 4.5, where
    page.show(1280, 800)


def test_the_microphone_is_embedded_live_and_recorded(tabs: Any, address: str, bundle: Path, tmp_path: Path) -> None:
    spoken = tmp_path / "spoken.wav"
    soundfile.write(spoken, music(5 * 48000, 48000), 48000, "PCM_16")
    with tabs(*FAKE, f"--use-file-for-fake-audio-capture={spoken}") as page:
        page.open(address)
        page.until(READY)
        page.run("document.querySelector('#listen').focus()")
        page.press("Enter")
        page.until("sondino.live && sondino.live.samples.some(x => Math.abs(x) > 0.1)")
        page.until("document.querySelectorAll('#tracks li:not([hidden])').length === 3")
        assert sorted(page.run("[...document.querySelectorAll('#tracks .label')].map(e => e.textContent)")) == [*LABELS]
        assert page.run("[...document.querySelectorAll('#times text')].pop().textContent") == "now"
        assert page.run("document.querySelector('#seek').hidden")
        live = page.run("({...sondino.live, samples: [...sondino.live.samples], vector: [...sondino.live.vector]})")
        model = Model(bundle, resample="always")
        assert live["rate"] in (44100, 48000)  # the device's own
        samples = np.array(live["samples"], np.float32)
        assert_same(live["vector"], model.embed([(samples, live["rate"])], short="native")[0])
        page.press("Enter")
        row = entries(page, 2)[1]
        recording = np.array(page.run("[...sondino.entries[1].recording.samples]"), np.float32)
        assert np.abs(recording).max() > 0.1
        assert row["name"] == "microphone-1.wav"
        assert_same(row["vector"], model.embed([(recording, live["rate"])])[0])
        assert page.run("document.querySelector('#wav').hidden") is False
        assert faults(page) == []


def test_the_microphone_keeps_the_top_of_the_band(tabs: Any, address: str, bundle: Path, tmp_path: Path) -> None:
    """From 14 kHz to just under half the model's rate, as loud beside the rest as in the file that is recorded."""
    spoken, rate = tmp_path / "spoken.wav", 48000
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * rate)
    soundfile.write(spoken, noise, rate, "PCM_16")
    with tabs(*FAKE, f"--use-file-for-fake-audio-capture={spoken}") as page:
        page.open(address)
        page.until(READY)
        page.run("document.querySelector('#listen').click()")
        page.until("sondino.live && parseFloat(document.querySelector('#length').textContent) >= 2.5")
        page.run("document.querySelector('#listen').click()")
        entries(page, 2)
        rate = page.run("sondino.entries[1].recording.rate")
        samples = np.array(page.run("[...sondino.entries[1].recording.samples]"), np.float32)

    def level(low: float, high: float) -> float:
        pieces = samples[: len(samples) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
        power = (np.abs(np.fft.rfft(pieces)) ** 2).mean(0)
        hertz = np.fft.rfftfreq(1024, 1 / rate)
        return 10 * np.log10(power[(hertz >= low) & (hertz < high)].mean())

    # Of 2 s of noise a band of 1 kHz is known to 0.12 dB (one standard deviation); a browser's resampler loses 4 dB.
    assert level(14000, 15000) - level(2000, 6000) == pytest.approx(0, abs=0.8)
    assert level(15000, 16000) - level(2000, 6000) == pytest.approx(0, abs=0.8)


HOLD = """
window.held = [];
window.Worker = class extends Worker {
  set onmessage(handler) {
    super.onmessage = (event) => (event.data.kind === 'live' ? held.push(() => handler(event)) : handler(event));
  }
};
"""


def test_an_answer_that_comes_after_the_microphone_was_stopped_is_not_shown(
    tabs: Any, address: str, tmp_path: Path
) -> None:
    spoken = tmp_path / "spoken.wav"
    soundfile.write(spoken, music(48000, 48000), 48000, "PCM_16")
    with tabs(*FAKE, f"--use-file-for-fake-audio-capture={spoken}") as page:
        page.call("Page.addScriptToEvaluateOnNewDocument", source=HOLD)
        page.open(address)
        page.until(READY)
        page.click("#listen")
        page.until("held.length === 1")
        page.click("#listen")
        entries(page, 2)
        page.click("#listen")
        page.until("held.length === 2")
        page.run("held[0]()")
        assert page.run("sondino.live") is None  # it belongs to the earlier recording
        page.run("held[1]()")
        assert page.run("sondino.live.vector.length")
        page.drop("#wave", spoken)  # ends it
        assert entries(page, 3)[2]["name"] == "spoken.wav"
        assert page.run("document.querySelector('#what').textContent") == "spoken.wav"
        assert faults(page) == []


@pytest.mark.parametrize(
    ("flags", "setting", "words"),
    [
        ((), "granted", "There is no microphone here"),
        (("--use-fake-device-for-media-stream",), "denied", "The microphone was not allowed"),
    ],
)
def test_no_microphone_and_no_permission_get_a_message(
    tabs: Any, address: str, flags: tuple[str, ...], setting: str, words: str
) -> None:
    with tabs(*flags) as page:
        page.open(address)
        page.call("Browser.setPermission", permission={"name": "microphone"}, setting=setting)
        page.until("!document.querySelector('#listen').disabled")
        page.click("#listen")
        assert words in page.until(TROUBLE)
        assert page.run("document.querySelector('#listen').textContent") == "Use the microphone"
        assert faults(page) == []


def broken(folder: Path, out: Path, change: Callable[[Path], object]) -> Path:
    shutil.copytree(folder, out)
    change(out / "model")
    return out


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: (model / "body.onnx").unlink(), "model/body.onnx is missing (404)"),
        (lambda model: (model / "model.json").unlink(), "model/model.json is missing (404)"),
        (lambda model: truncate(model / "body.onnx"), "model/body.onnx is damaged"),
        (lambda model: flip(model / "body.onnx"), "model/body.onnx is damaged"),
        (lambda model: truncate(model / "gallery.bin"), "model/gallery.bin is damaged"),
        (lambda model: (model / "model.json").write_text("{}"), "model/model.json is not one that this page can read"),
    ],
)
def test_a_model_that_is_missing_or_damaged_gets_a_message(
    opened: tuple[browser.Page, str], page_folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    page, _ = opened
    with served(broken(page_folder, tmp_path / "page", change)) as address:
        page.open(address)
        trouble = page.until(TROUBLE)
    assert message in trouble
    assert "export the page again" in trouble


def test_opened_as_a_file_and_without_wasm_it_shows_a_message(tabs: Any, address: str, page_folder: Path) -> None:
    with tabs() as page:
        page.open(page_folder / "index.html")
        assert "opened as a file" in page.until(TROUBLE)
        page.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.WebAssembly")
        page.open(address)
        assert "no WebAssembly" in page.until(TROUBLE)


def test_a_graphics_card_that_fails_leaves_the_model_on_the_processor(tabs: Any, address: str) -> None:
    promised = "GPU.prototype.requestAdapter = async () => ({info: {isFallbackAdapter: false}})"
    with tabs() as page:
        page.call("Page.addScriptToEvaluateOnNewDocument", source=promised)
        page.open(address)
        page.until(READY)
        page.until("performance.getEntriesByType('resource').some(e => e.name.includes('/assets/gpu-'))")
        page.click("#near li .name")
        assert entries(page, 2)
        assert page.run("document.querySelector('#engine').textContent") == "the CPU"
        assert page.run("document.querySelector('#trouble').hidden") is True


def test_its_rules_allow_no_others(page: browser.Page) -> None:
    rules = page.run("document.querySelector('meta[http-equiv]').content")
    for rule in (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "connect-src 'self'",
    ):
        assert rule in rules
    assert "unsafe-inline" not in rules
    assert page.run("crossOriginIsolated") is True
    assert page.run("document.querySelectorAll('#labels li').length") == len(LABELS)

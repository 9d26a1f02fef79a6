"""Temporal support: models whose best window is known, since only a whole clip, or any part of it, gives its label."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from helpers.skips import needs_linux
from helpers.stages import stages_in
from sondino import cli
from sondino.benchmark.footprint import Footprint, footprint
from sondino.encoder.check import check_encoder
from sondino.encoder.padded import PaddedEncoder
from sondino.errors import EncoderError, OptionError
from sondino.evaluation import support as module
from sondino.evaluation.support import check_window_lengths, support, windows_for_model
from sondino.evaluation.support_table import choose, rich_table

RATE = 8000

MODELS = '''
import numpy as np

RATE = 8000

class Halves:
    """The product of the levels of a waveform's two halves: what they have to do with each other."""

    name, sample_rate, dim, window, fingerprint = "halves", RATE, 2, None, "halves"

    def embed(self, waveforms):
        first, second = np.array_split(waveforms, 2, axis=1)
        return np.stack([first.mean(1) * second.mean(1), np.abs(waveforms).mean(1)], 1).astype(np.float32)

class Level(Halves):
    """The level of a waveform, whatever its length."""

    name, fingerprint = "level", "level"

    def embed(self, waveforms):
        return np.stack([waveforms.mean(1), np.abs(waveforms).mean(1)], 1).astype(np.float32)

class OneSecond(Halves):
    """Takes one second, no more and no less."""

    name, fingerprint, window = "one-second", "one-second", 1.0

    def embed(self, waveforms):
        assert waveforms.shape[1] == RATE, waveforms.shape
        return super().embed(waveforms)

class Hungry(Halves):
    """Takes 32 MB for each second while it embeds."""

    name, fingerprint = "hungry", "hungry"

    def embed(self, waveforms):
        held = np.ones(int(32e6 * waveforms.shape[1] / RATE) // 8)
        return super().embed(waveforms) + 0 * np.float32(held[-1])

class Greedy(Hungry):
    """Takes 400 MB while it opens, and gives them back."""

    def __init__(self):
        assert np.ones(50_000_000).all()

class Failing(Halves):
    name, fingerprint, window = "failing", "failing", 1.0
    calls = 0

    def embed(self, waveforms):
        Failing.calls += 1
        if Failing.calls > 4 and len(waveforms) == 1:
            raise ValueError("out of memory")
        return super().embed(waveforms)
'''


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "toys.py").write_text(MODELS)
    return tmp_path / "toys.py"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Clips of 2 s whose halves have one sign each, alike or not: a window has to cover both to report."""
    rng = np.random.default_rng(0)
    for label, signs in (("alike", (1, 1)), ("alike", (-1, -1)), ("unlike", (1, -1)), ("unlike", (-1, 1))):
        for number in range(8):
            levels = np.repeat(signs, RATE) * rng.uniform(0.4, 0.6)
            file = tmp_path / "clips" / label / f"{signs[0]}{signs[1]}{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, levels.astype(np.float32), RATE, subtype="FLOAT")
    return tmp_path / "clips"


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, bool]]:
    """Stands in for what takes seconds to measure: memory is 1 MB for each second, and what is asked is listed."""
    asked: list[tuple[str, float, bool]] = []

    def measured(name: str, window: float, filled: bool, threads: int | None) -> Footprint:
        asked.append((name, window, filled))
        return Footprint(10.0, round(1e6 * window))

    monkeypatch.setattr(module, "footprint", measured)
    monkeypatch.setattr(
        module, "model_facts", lambda _, name, role, source: {"name": name, "role": role, "source": source}
    )
    return asked


def found(
    models: Path, task: Path, *names: str, window_lengths: tuple[float, ...] = (0.5, 1, 2, 5, 10)
) -> module.Supported:
    given = [f"module:{models}:{name}" for name in names]
    return support(given, [str(task)], window_lengths, out=task.parent / "out", seeds=1, quiet=True)


def test_the_window_that_covers_both_halves_is_found(models: Path, task: Path, costs: list[Any]) -> None:
    results = found(models, task, "Halves").results
    scores = {row["window"]: row["value"] for row in results["rows"]}
    assert list(scores) == [0.5, 1, 2]  # 5 s and 10 s hold whole clips too
    assert scores[2] == 1.0 and scores[0.5] < 0.7 and scores[1] < 0.7
    (chosen,) = results["chosen"]
    assert (chosen["window"], chosen["best_window"]) == (2.0, 2.0)
    assert "2 s is best, 100.0 % at 2 s, and no shorter window" in chosen["sentence"]
    assert "every clip of clips fits into 2 s, so windows of 5, 10 s are the same" in results["notes"]
    assert [row["memory_bytes"] for row in results["rows"]] == [500_000, 1_000_000, 2_000_000]


def test_stages_are_numbered(models: Path, task: Path, costs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    support([f"module:{models}:Halves"], [str(task)], (1, 2, 5), out=task.parent / "out", seeds=1)  # 5 s is as 2 s
    assert stages_in(capsys.readouterr().err) == [
        "memory and time of halves",
        "clips: embeddings of halves, 1 s",
        "clips: probe of halves, 1 s",
        "clips: embeddings of halves, 2 s",
        "clips: probe of halves, 2 s",
        "size, speed and energy",
    ]


def test_a_model_that_needs_no_more_gets_the_shortest(models: Path, task: Path, costs: list[Any]) -> None:
    for number, file in enumerate(sorted(task.rglob("*.wav"))):  # now the sign of any part reports
        sign = 1 if file.parent.name == "alike" else -1
        level = np.full(2 * RATE, sign * (0.4 + 0.01 * number), np.float32)
        soundfile.write(file, level, RATE, subtype="FLOAT")
    (chosen,) = found(models, task, "Level").results["chosen"]
    assert (
        chosen["window"] == 0.5
        and "0.5 s, the shortest tried, is enough: no other scores higher than its 100.0 %" in chosen["sentence"]
    )


def test_what_is_written(models: Path, task: Path, costs: list[Any]) -> None:
    done = found(models, task, "Halves", "Level", window_lengths=(1, 2))
    out = task.parent / "out"
    results = json.loads((out / "results.json").read_text())
    assert results == done.results
    assert (results["format"], results["kind"]) == ("sondino-results-1", "support")
    assert [model["name"] for model in results["models"]] == ["halves", "level"]
    assert {model["role"] for model in results["models"]} == {"teacher"}
    assert results["tasks"][0]["labels"] == ["alike", "unlike"] and results["tasks"][0]["clips"] == 32
    rows = list(csv.DictReader((out / "support.csv").open()))
    assert [(row["task"], float(row["window"])) for row in rows] == [("clips", 1), ("clips", 2)] * 2
    assert float(rows[1]["value"]) == 1.0 and rows[1]["memory_bytes"] == "2000000"
    assert all(float(row["low95"]) <= float(row["value"]) <= float(row["high95"]) for row in rows)
    table = rich_table(results)
    assert len(table.rows) == 5 and [str(c.header) for c in table.columns][:3] == [
        "model",
        "window",
        "clips (accuracy)",
    ]


def test_finished_windows_are_cached(
    models: Path, task: Path, costs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(models, task, "Halves", window_lengths=(1, 2)).results
    again = found(models, task, "Halves", window_lengths=(1, 2)).results
    assert len(costs) == 2 and first["rows"] == again["rows"]
    monkeypatch.setattr("sondino.evaluation.scores.probe", lambda *_: pytest.fail("scored again"))
    monkeypatch.setattr("sondino.probing.embeddings.embed_table", lambda *_, **__: pytest.fail("embedded again"))
    found(models, task, "Halves", window_lengths=(1, 2))


# ---- models of one length ----------------------------------------------------------------------------------------


class Fixed:
    """Embeds a waveform as its first four samples; accepts exactly 8 samples at 8 Hz."""

    name = "fixed"
    sample_rate = 8
    dim = 8
    window = 1.0
    fingerprint = "fixed"

    def __init__(self, short: str = "pad") -> None:
        self.short = short

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        if waveforms.shape[1] != 8:
            raise EncoderError("8 samples")
        return waveforms.astype(np.float32)


def test_shorter_windows_are_padded_as_the_model_pads() -> None:
    sound = np.arange(1, 4, dtype=np.float32)[None]
    assert PaddedEncoder(Fixed("pad"), 0.375).embed(sound)[0].tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    assert PaddedEncoder(Fixed("native"), 0.375).embed(sound)[0].tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    assert PaddedEncoder(Fixed("repeat"), 0.375).embed(sound)[0].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    whole = np.arange(8, dtype=np.float32)[None]
    assert PaddedEncoder(Fixed("repeat"), 1.0).embed(whole)[0].tolist() == list(range(8))


def test_a_filled_model_is_an_encoder_of_its_own() -> None:
    filled = PaddedEncoder(Fixed(), 0.5)
    assert check_encoder(filled) == []
    prints = {
        filled.fingerprint,
        PaddedEncoder(Fixed(), 0.25).fingerprint,
        PaddedEncoder(Fixed("repeat"), 0.5).fingerprint,
        "fixed",
    }
    assert len(prints) == 4


def test_a_model_of_one_length_uses_its_own_in_place_of_longer_ones() -> None:
    windowed, notes = windows_for_model(Fixed(), [0.25, 0.5, 2.0, 5.0])
    assert [(each.window, each.filled) for each in windowed] == [(0.25, True), (0.5, True), (1.0, False)]
    assert notes == [
        "fixed takes 1 s at once: windows of 2, 5 s are left out, 1 s is used",
        "fixed takes 1 s at once: shorter windows are zero-padded up to it",
    ]
    windowed, notes = windows_for_model(Fixed("repeat"), [0.5, 1.0])
    assert [(each.window, each.filled) for each in windowed] == [(0.5, True), (1.0, False)]
    assert notes == ["fixed takes 1 s at once: shorter windows are repeated up to it"]
    assert [each.window for each in windows_for_model(Fixed(), [2.0])[0]] == [1.0]
    # A clip under the one window that there is cannot be processed without padding.
    assert [windows_for_model(Fixed(short), [1.0])[0][0].short for short in ("native", "pad", "repeat")] == [
        "pad",
        "pad",
        "repeat",
    ]


def test_a_model_that_takes_any_length_is_given_it() -> None:
    class Free(Fixed):
        def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.repeat(waveforms.mean(1, keepdims=True), 8, 1)

    class Any_(Free):
        window = None  # type: ignore[assignment]

    class PadsItself(Free):
        minimum = 8

    for encoder in (Free(), Any_()):
        windowed, notes = windows_for_model(encoder, [0.25, 2.0])  # type: ignore[arg-type]
        assert [(each.window, each.filled) for each in windowed] == [(0.25, False), (2.0, False)] and notes == []
        assert {each.short for each in windowed} == {"native"}
    windowed, _ = windows_for_model(PadsItself(), [0.25, 2.0])
    assert [(each.window, each.filled) for each in windowed] == [(0.25, True), (1.0, False)]


def test_scores_of_a_model_of_one_length(models: Path, task: Path, costs: list[Any]) -> None:
    results = found(models, task, "OneSecond", window_lengths=(0.5, 2)).results
    assert [(row["window"], row["filled"]) for row in results["rows"]] == [(0.5, True), (1.0, False)]
    assert [asked[1:] for asked in costs] == [(0.5, True), (1.0, False)]
    assert all(row["value"] < 0.7 for row in results["rows"])


# ---- the choice ---------------------------------------------------------------------------------------------------


def scored(*values: float, half: float = 0.05) -> list[dict[str, Any]]:
    return [
        {
            "model": "m",
            "task": "t",
            "window": float(window),
            "value": value,
            "interval95": [value - half, value + half],
            "clips": 40,
            "milliseconds_per_10s": 10.0 * window,
            "memory_bytes": 1_000_000 * window,
        }
        for window, value in zip((1, 2, 5, 10), values, strict=False)
    ]


def test_the_shortest_within_the_bests_interval_is_chosen() -> None:
    chosen = choose(scored(0.80, 0.86, 0.90, 0.88), "T")
    assert (chosen["window"], chosen["best_window"]) == (2.0, 5.0)
    assert chosen["sentence"] == (
        "m on T: 2 s is enough, 86.0 %, within one interval (± 5.0) of the best, 90.0 % at 5 s; "
        "2.0 MB of memory for 5.0, 20.0 ms for 10 s in place of 50.0; "
        "5 s is the best, and cannot be distinguished from 1 s, 2 s, 10 s by 40 clips: their 95 % intervals overlap; "
        "40 clips are few: differences of several points may be chance"
    )
    assert choose(scored(0.7, 0.9), "T")["sentence"].endswith(
        "its interval (± 5.0); 40 clips are few: differences of several points may be chance"
    )
    assert choose(scored(0.849, 0.86, 0.90), "T")["window"] == 2.0
    assert choose(scored(0.851, 0.86, 0.90), "T")["window"] == 1.0
    assert choose(scored(0.7, 0.7, 0.9), "T")["window"] == 5.0
    assert (
        "1 s, the shortest tried, is enough: no other scores higher than its 90.0 %"
        in choose(scored(0.9, 0.8), "T")["sentence"]
    )


def test_an_interval_that_is_cut_off_at_100_counts_by_half_its_width() -> None:
    rows = scored(0.93, 0.98)
    rows[1]["interval95"] = [0.92, 1.0]  # half of it is 4 points
    assert choose(rows, "T")["window"] == 2.0


# ---- what it costs -------------------------------------------------------------------------------------------------


@pytest.mark.full
@needs_linux  # nothing else reports the peak of a stretch of work
def test_memory_is_that_of_the_window(models: Path) -> None:
    one, three = (footprint(f"module:{models}:Hungry", window, False, None) for window in (1.0, 3.0))
    assert one.memory_bytes is not None and three.memory_bytes is not None
    assert three.memory_bytes - one.memory_bytes == pytest.approx(64e6, rel=0.1)
    assert one.milliseconds_per_10s > 0
    opening = footprint(f"module:{models}:Greedy", 1.0, False, None)
    assert opening.memory_bytes == pytest.approx(one.memory_bytes, abs=32e6)


@pytest.mark.slow
def test_a_model_that_fails_in_its_process_is_an_error(models: Path) -> None:
    with pytest.raises(EncoderError, match=r"Failing.*process of its own: .*out of memory"):
        footprint(f"module:{models}:Failing", 1.0, False, None)


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "message"),
    [((), "no window"), ((0.0, 1), "window is 0 s"), ((4000,), "4000"), ((1, 2, 1), "names 1 twice"), ((-1,), "-1")],
)
def test_windows_that_cannot_be(windows: tuple[float, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_window_lengths(windows)


def test_the_command(models: Path, task: Path, costs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: object) -> int:
        with pytest.raises(SystemExit) as left:
            cli.main(["support", *map(str, arguments)])
        return int(left.value.code or 0)

    model, out = f"module:{models}:Halves", task.parent / "out"
    assert call(model, "--tasks", task, "--window-lengths", "2,1", "--out", out, "--quiet") == 0
    shown = capsys.readouterr().out
    assert "2 s is best" in shown and "support.csv" in shown and (out / "report.html").exists()
    (task / "alike" / "broken.wav").write_text("no sound")
    assert call(model, "--tasks", task, "--window-lengths", "2", "--out", out, "--quiet") == 1
    assert "1 clips could not be decoded" in capsys.readouterr().err
    assert call(model, "--tasks", task, "--window-lengths", "a,b", "--out", out) == 2
    assert "--window-lengths is 'a,b'" in capsys.readouterr().err
    assert call(model, model, "--tasks", task, "--out", out) == 2
    assert "named twice" in capsys.readouterr().err
    assert call(model, "--tasks", task, "--seeds", "0", "--out", out) == 2
    assert "seeds is 0" in capsys.readouterr().err

"""Models side by side: shares of the first one by hand, the same scores as an evaluation's, and the command."""

import csv
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from helpers.golden import DATA
from helpers.loudness import RATE, write_loudness
from helpers.tiny_bundle import write_tiny_bundle
from sondino import cli
from sondino.benchmark.measure import Energy, milliseconds_side_by_side
from sondino.errors import OptionError
from sondino.evaluation.compare import compare, format_results, rows, shown_rows
from sondino.evaluation.evaluate import evaluate

pytest.importorskip("sklearn")


class Loudness:
    """An embedding whose first dimension decides the label, or not, and two dimensions of noise."""

    sample_rate, dim, window = RATE, 3, None

    def __init__(self, name: str, knows: bool = True) -> None:
        self.name, self.knows, self.fingerprint = name, knows, f"{name} {knows}"
        self.shapes: list[tuple[int, ...]] = []

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        self.shapes.append(waveforms.shape)
        level = np.log(np.sqrt((waveforms**2).mean(1)))
        ends = 100 * waveforms[:, :2]
        return np.column_stack([level if self.knows else ends[:, 0], ends]).astype(np.float32)


@pytest.fixture
def no_energy(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)


def model(name: str, parameters=None, macs=None, size=None, milliseconds=1.0, joules=None) -> dict:
    return {
        "name": name, "source": f"{name}/bundle", "role": "student", "parameters": parameters, "macs_per_10s": macs,
        "file_bytes": size, "milliseconds_per_10s": milliseconds, "joules_per_10s": joules,
        "joules_how": joules and "a meter",
    }  # fmt: skip


def score(name: str, task: str, value: float) -> dict:
    interval = [value - 0.02, value + 0.02]
    return {"model": name, "task": task, "value": value, "interval95": interval, "chance": 0.1, "interval": "t"}


WHOLE = model("whole", 80_000_000, 20_000_000_000, 320_000_000, 50.0, 36.0)
PRUNED = model("pruned", 16_000_000, 10_000_000_000, 640_000, 22.5, 9.0)
TASKS = [{"name": "a", "metric": "accuracy", "clips": 40}, {"name": "b", "metric": "mAP", "clips": 50}]
SCORES = [score("whole", "a", 0.8), score("whole", "b", 0.4), score("pruned", "a", 0.76), score("pruned", "b", 0.41)]


def results(models: list[dict], scores: list[dict], tasks: list[dict], grid: float = 100.0) -> dict:
    shown = {"tasks": tasks, "scores": scores, "models": models, "rounds": 9, "grid": grid, "notes": ["a note"]}
    return {**shown, "rows": rows(models, tasks, scores, grid)}


# ---- the table, by hand -----------------------------------------------------------------------------------------


def test_shares_of_the_whole_by_hand():
    whole, pruned = rows([WHOLE, PRUNED], TASKS, SCORES, grid=100.0)
    assert [pruned[f"{name}_share"] for name in ("parameters", "macs_per_10s", "file_bytes")] == [0.2, 0.5, 0.002]
    assert (pruned["milliseconds_per_10s_share"], pruned["joules_per_10s_share"]) == (0.45, 0.25)
    assert all(whole[name] == 1.0 for name in whole if name.endswith(("_share", "kept")))
    assert whole["mg_co2e_per_10s"] == pytest.approx(1.0)  # 36 J are 10 mWh, of 100 g a kWh
    assert (pruned["a_kept"], pruned["b_kept"]) == (pytest.approx(0.95), pytest.approx(1.025))
    assert pruned["average"] == pytest.approx(0.585) and pruned["kept"] == pytest.approx(0.975)
    assert (pruned["a"], pruned["a_low"], pruned["a_high"]) == (0.76, 0.74, 0.78)


def test_the_table_for_people():
    shown = results([WHOLE, PRUNED], SCORES, TASKS)
    whole, pruned = shown_rows(shown)
    assert whole == {
        "model": "whole", "parameters": "80 M", "MACs": "20 G", "file": "320 MB", "ms": "50", "J": "36",
        "mg CO2e": "1", "a": "80.0 ± 2.0", "b": "40.0 ± 2.0", "average": "60.0",
    }  # fmt: skip
    assert (pruned["parameters"], pruned["file"], pruned["ms"]) == ("16 M (20 %)", "0.64 MB (0.2 %)", "22.5 (45 %)")
    assert (pruned["a"], pruned["average"]) == ("76.0 ± 2.0 (95 %)", "58.5 (97 %)")
    lines = "\n".join(format_results(shown))
    assert "relative to whole" in lines and "J: a meter" in lines and "at 100 g for a kilowatt-hour" in lines
    assert "chance: a 10.0, b 10.0" in lines and "a note" in lines


def test_one_model_has_no_shares_and_what_is_not_known_no_column():
    shown = results([model("alone", 1_000_000)], [], [])
    assert shown_rows(shown) == [{"model": "alone", "parameters": "1 M", "ms": "1"}]
    assert shown["rows"][0]["parameters_share"] is None
    assert not any("relative to" in line for line in format_results(shown))
    one, two = results([model("a"), model("b", 5)], [], [])["rows"]
    assert one["parameters_share"] is None and two["parameters_share"] is None


def test_models_are_timed_in_turn(monkeypatch):
    clock = iter([0.0, 0.010, 1.0, 1.004, 2.0, 2.030, 3.0, 3.006, 4.0, 4.020, 5.0, 5.001])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    first, second, order = Loudness("first"), Loudness("second"), []
    second.window, second.hop = 3.0, 1.5  # seven windows stand for 10.5 s
    for one in (first, second):
        one.embed = lambda x, name=one.name: order.append((name, x.shape))
    assert milliseconds_side_by_side([first, second], 3) == pytest.approx([20.0, 4.0 * 10 / 10.5])
    assert order == 4 * [("first", (1, 10 * RATE)), ("second", (7, 3 * RATE))]


# ---- models ---------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_an_evaluation_and_are_cached(tmp_path, no_energy):
    folder, models = write_loudness(tmp_path / "levels", seconds=0.3), [Loudness("whole"), Loudness("deaf", False)]
    done = compare(models, tmp_path / "out", tasks=[str(folder)], seeds=1, quiet=True)
    evaluated = evaluate(models, tmp_path / "evaluated", tasks=[str(folder)], seeds=1, quiet=True)
    assert [s["value"] for s in done.results["scores"]] == [s["value"] for s in evaluated.results["scores"]]
    whole, deaf = done.results["rows"]
    assert whole["levels"] == 1.0 and deaf["kept"] == deaf["levels_kept"] == deaf["levels"] < 0.7
    assert done.results == json.loads((tmp_path / "out" / "compare.json").read_text())
    with (tmp_path / "out" / "compare.csv").open(newline="") as table:
        assert [float(row["levels_kept"]) for row in csv.DictReader(table)] == [1.0, round(deaf["kept"], 6)]
    assert "| deaf | " in (tmp_path / "out" / "compare.md").read_text()
    third = Loudness("whole")
    compare([third], tmp_path / "out", tasks=[str(folder)], seeds=1, quiet=True)
    assert set(third.shapes) == {(1, 10 * RATE)}  # timed, and no clip embedded again


def test_times_are_those_taken_in_turn_and_energy_is_shown_where_it_can_be_measured(monkeypatch):
    monkeypatch.setattr("sondino.evaluation.compare.milliseconds_side_by_side", lambda encoders, rounds: [12.5])
    monkeypatch.setattr("sondino.evaluation.models.energy_per_10s", lambda *_: Energy(7.2, "a meter"))
    done = compare([Loudness("one")], grid=500.0, quiet=True)
    (row,) = done.results["rows"]
    assert (row["milliseconds_per_10s"], row["mg_co2e_per_10s"]) == (12.5, pytest.approx(1.0))
    assert done.results["notes"] == []
    monkeypatch.setattr("sondino.evaluation.models.energy_per_10s", lambda *_: None)
    assert "no energy: that needs codecarbon" in compare([Loudness("one")], quiet=True).results["notes"][0]


def test_a_model_named_twice_is_compared_once_and_equal_names_get_unique_names(make_tiny_bundle, no_energy):
    one, other = str(make_tiny_bundle("one")), str(make_tiny_bundle("other"))
    names = [row["model"] for row in compare([one, other, one], quiet=True).results["rows"]]
    assert names == ["tiny", f"tiny ({other})"]


def test_nothing_is_left_where_nothing_is_asked_for(tmp_path, monkeypatch, no_energy):
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "passing"))
    done = compare([Loudness("one")], tasks=[str(write_loudness(tmp_path / "levels", seconds=0.3))],
                   seeds=1, quiet=True)  # fmt: skip
    assert done.results["scores"][0]["value"] == 1.0 and list((tmp_path / "passing").iterdir()) == []


# ---- the command ------------------------------------------------------------------------------------------------


def call_cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_the_command_compares_bundles(tmp_path, capsys, no_energy):
    whole = write_tiny_bundle(tmp_path / "whole", name="whole", parameters=4_000_000)
    half = write_tiny_bundle(tmp_path / "half", name="half", parameters=2_000_000)
    folder = write_loudness(tmp_path / "levels", seconds=0.3)
    (folder / "loud" / "0.wav").write_bytes(b"broken")
    command = ("compare", whole, half, "--tasks", folder, "--seeds", 1, "--quiet")
    assert call_cli(*command, "--out", tmp_path / "out") == 1  # a file could not be read
    shown = capsys.readouterr()
    assert "levels: 23 clips are few" in shown.out and "within noise" in shown.out
    assert "2 M (50 %)" in shown.out and "(100 %)" in shown.out and "loud/0.wav" in shown.err
    assert "loud/0.wav" in (tmp_path / "out" / "compare.skipped.csv").read_text()
    (folder / "loud" / "0.wav").unlink()
    assert call_cli(*command) == 0
    assert "results:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to compare: name bundles"),
        (("levels",), "levels is no bundle (it has no config.json)"),
        (("nowhere",), "unknown model 'nowhere'"),
        (("bundle", "--tasks", "esc11"), "unknown task 'esc11': did you mean esc10"),
        (("bundle", "--grid", "-1"), "grid is -1: give grams"),
        (("bundle", "--seeds", "0"), "seeds is 0"),
        (("bundle", "--threads", "0"), "threads is 0"),
        (("bundle", "--out", "taken"), "taken could not be written"),
    ],
)
def test_mistakes_are_an_error(tmp_path, monkeypatch, capsys, no_energy, arguments, message):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DATA / "tiny_bundle", "bundle")
    write_loudness(Path("levels"), clips=1)
    Path("taken").write_text("years")
    before = sorted(Path().rglob("*"))
    assert call_cli("compare", *arguments, "--quiet") == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_precomputed_embeddings_are_an_error(tmp_path):
    np.savez(tmp_path / "v.npz", ids=np.array(["a"]), vectors=np.ones((1, 3), np.float32))
    with pytest.raises(OptionError, match="cannot embed audio"):
        compare([f"precomputed:{tmp_path / 'v.npz'}?rate=16000"], quiet=True)

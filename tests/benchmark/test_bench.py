"""The bench: what is measured, how it is reported, and what happens to models that fail."""

import csv
import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from helpers.bench_models import write_bundle_with_body, write_export
from helpers.stages import stages_in
from helpers.tiny_bundle import write_tiny_bundle
from sondino import cli
from sondino.benchmark import bench as benching
from sondino.benchmark import given
from sondino.benchmark.bench import bench
from sondino.benchmark.given import Combination, NamedModel, combinations, find
from sondino.benchmark.record import Bench, Measured
from sondino.benchmark.results import FIELDS, bench_rows, format_failures, format_notes, to_table
from sondino.errors import OptionError, SondinoError


@pytest.fixture
def with_body(tmp_path: Path) -> Path:
    return write_bundle_with_body(tmp_path / "with_body")


def test_models_are_found_by_any_name(tiny_bundle, tmp_path):
    assert find(str(tiny_bundle)) == NamedModel("tiny", "bundle", str(tiny_bundle), peer=False)
    file = tiny_bundle / "model.onnx"
    plain = find(f"{file}?rate=16000", peer=True)
    assert plain == NamedModel("model.onnx", "teacher", f"onnx:{file}?rate=16000", peer=True)
    assert find(f"onnx:{file}#embedding?rate=16000").source == f"onnx:{file}#embedding?rate=16000"
    export = write_export(tiny_bundle, tmp_path / "export")
    assert find(str(export)) == NamedModel("tiny", "export", str(export), peer=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{empty}", "is no bundle"),
        ("{empty}/none.onnx?rate=16000", "does not exist"),
        ("{file}?rate=16000&threads=2", "leave out threads="),
        ("{file}?rat=16000", "did you mean rate"),
        ("precomputed:{file}", "cannot embed audio"),
        ("{web}", "runs in a browser"),
        ("{old}", "not of the format sondino-export-1"),
        ("./nowhere", "there is no file or folder"),
        ("{damaged}", "config.json: is damaged"),
    ],
)
def test_what_is_no_model_gets_an_error_message(name, message, tiny_bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    damaged = write_tiny_bundle(tmp_path / "damaged")
    (damaged / "config.json").write_text('{"format": "sondino-bundle-1", ')
    where = {
        "damaged": damaged,
        "empty": tmp_path / "empty",
        "file": tiny_bundle / "model.onnx",
        "web": write_export(tiny_bundle, tmp_path / "web", to="web"),
        "old": write_export(tiny_bundle, tmp_path / "old", format="sondino-export-0"),
    }
    with pytest.raises(SondinoError, match=message):
        find(name.format(**where))


def installed(monkeypatch, *modules):
    """Only these runtimes are installed."""
    found = types.SimpleNamespace()
    monkeypatch.setattr(given.importlib.util, "find_spec", lambda name: found if name in modules else None)


def pairs(found):
    return [(each.runtime, each.precision, each.threads) for each in found]


def test_a_bundle_runs_in_all_that_is_here(monkeypatch, make_tiny_bundle):
    installed(monkeypatch, "onnxruntime", "openvino")
    monkeypatch.setattr(given, "_has_bfloat16", lambda: True)
    student = find(str(make_tiny_bundle("student", student="mobilenetv3")))
    found, missing, nowhere = combinations([student], ["all"], [1, 2])
    both = [("openvino", "float32"), ("openvino", "bfloat16")]
    each = [("onnxruntime", "float32"), ("onnxruntime-graph", "float32"), *both]
    each += [(f"{runtime}-graph", precision) for runtime, precision in both]
    assert pairs(found) == [(*pair, threads) for threads in (1, 2) for pair in each]
    assert missing == {"torch": "pip install 'sondino[train]'"}
    assert nowhere == {}
    quantised = find(str(make_tiny_bundle("small", student="mobilenetv3", precision="int8")))
    found, missing, _ = combinations([quantised], ["all"], [1])
    assert {precision for _, precision, _ in pairs(found)} == {"int8"}
    assert len(found) == 4
    assert missing == {}  # no torch would run it


def test_a_runtime_asked_for_must_be_here(monkeypatch, tiny_bundle):
    installed(monkeypatch, "onnxruntime")
    model = find(str(tiny_bundle))
    for name, message in [
        ("openvino", r"pip install 'sondino\[openvino\]'"),
        ("onxruntime", "did you mean onnxruntime"),
        ("litert", "does not run bundles"),
    ]:
        with pytest.raises(OptionError, match=message):
            combinations([model], [name], [1])


def test_exports_and_peers_run_in_their_own_runtime(monkeypatch, tiny_bundle, tmp_path):
    installed(monkeypatch, "onnxruntime")
    monkeypatch.setenv("SONDINO_EDGE", str(tmp_path / "edge"))
    graph = find(str(write_export(tiny_bundle, tmp_path / "graph", precision="f16")))
    shutil.copy(tiny_bundle / "model.onnx", tiny_bundle / "body.onnx")
    body = find(str(write_export(tiny_bundle, tmp_path / "body", input="logmel")))
    phone = find(str(write_export(tiny_bundle, tmp_path / "phone", to="executorch", precision="int8")))
    peer = find(f"{tiny_bundle / 'model.onnx'}?rate=16000", peer=True)
    found, missing, nowhere = combinations([graph, body, phone, peer], ["onnxruntime"], [1])
    expected = [("onnxruntime-graph", "float32", 1), ("onnxruntime", "float32", 1), ("onnxruntime-graph", "", 1)]
    assert pairs(found) == expected
    assert missing == {}
    assert nowhere == {phone: "executorch is not installed here (make edge)"}
    # `make edge` builds an environment that has it.
    python = tmp_path / "edge" / "executorch" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    found, _, nowhere = combinations([phone], ["all"], [1])
    assert [(each.runtime, each.precision, each.python) for each in found] == [("executorch", "int8", str(python))]
    assert nowhere == {}


def test_models_of_one_name_have_unique_names(tmp_path):
    first, second, third = (find(str(write_tiny_bundle(tmp_path / folder, name=name))) for folder, name in
                            (("a", "same"), ("b", "same"), ("c", "other")))  # fmt: skip
    found, _, _ = combinations([first, second, third], ["onnxruntime"], [1])
    assert [each.model.name for each in found] == [f"same ({first.source})", f"same ({second.source})", "other"]


def test_real_models_are_measured_in_processes_of_their_own(with_body, tmp_path):
    broken = write_tiny_bundle(tmp_path / "broken", name="broken")
    (broken / "model.onnx").write_bytes(b"no model")
    out = tmp_path / "out"
    done = bench([str(broken), str(with_body)], out, runtimes=["onnxruntime"], threads=[1], seconds=[2, 1], rounds=2,
                 least=0.01, energy=False, quiet=True)  # fmt: skip
    assert done.failed
    ((damaged, why),) = done.not_run.items()
    assert (damaged.name, why) == ("broken", f"{broken / 'model.onnx'}: is damaged, its hash is not the one beside it; "
                                             "copy the whole folder again")  # fmt: skip
    (good,) = done.measured
    assert good.error is None
    table = list(csv.DictReader((out / "bench.csv").open()))
    assert list(table[0]) == list(FIELDS)
    assert [(row["model"], row["seconds"], row["batch"]) for row in table] == [
        ("broken", "", ""),
        *(("mels", length, batch) for length in ("2.0", "1.0") for batch in ("1", "8")),
    ]
    assert "is damaged" in table[0]["error"]
    for row in table[1:]:
        low, middle, high = (
            float(row[name]) for name in ("milliseconds_fastest_round", "milliseconds", "milliseconds_slowest_round")
        )
        assert 0 < low <= middle <= high
        assert float(row["real_time_factor"]) == pytest.approx(middle / (1000 * float(row["seconds"])))
        cold = sum(float(row[name]) for name in ("start_ms", "import_ms", "load_ms", "first_ms"))
        assert float(row["cold_start_ms"]) == pytest.approx(cold, rel=0.5)  # of medians
        assert (row["dim"], row["rounds"]) == ("16", "2")
        assert int(row["file_bytes"]) == sum((with_body / n).stat().st_size for n in
                                             ("model.onnx", "body.onnx", "config.json"))  # fmt: skip
        assert row["processor"] and row["date"] and row["runtime_version"]
        assert bool(row["front_end_ms"] and row["net_ms"]) == (row["batch"] == "1")
        if Path("/proc/self/status").exists():
            assert 2e7 < float(row["peak_memory_bytes"]) < 1e9
    whole = json.loads((out / "bench.json").read_text())
    assert (whole["format"], whole["stopped"], len(whole["measured"])) == ("sondino-bench-1", False, 1)
    assert format_failures(done) == [f"broken: {why}"]


def test_an_export_whose_file_is_damaged_or_gone_is_not_measured(monkeypatch, tiny_bundle, tmp_path):
    installed(monkeypatch, "onnxruntime")
    export = find(str(write_export(tiny_bundle, tmp_path / "export")))
    assert len(combinations([export], ["all"], [1])[0]) == 1
    (tmp_path / "export" / "model.onnx").write_bytes(b"other")
    found, _, nowhere = combinations([export], ["all"], [1])
    assert found == [] and "model.onnx: is damaged" in nowhere[export]
    (tmp_path / "export" / "model.onnx").unlink()
    assert "model.onnx: cannot be read" in combinations([export], ["all"], [1])[2][export]


def answer(milliseconds, cold=100.0, busy=1.0, dim=3):
    """The result of a worker that timed one clip length."""
    clip = {"seconds": 10.0, "batch": 1, "busy_threads": busy, "milliseconds": milliseconds}
    return {
        **dict.fromkeys(("start_ms", "import_ms", "load_ms", "first_ms"), cold / 4),
        **{"cold_start_ms": cold, "dim": dim, "version": "9.9", "file_bytes": 2_000_000},
        **{"parameters": None, "macs_per_10s": None},
        "clips": [{**clip, "net_ms": 4.0, "front_end_ms": 1.0}, {**clip, "batch": 8}],
    }


def run_of(*measured):
    return Bench(list(measured), {}, {}, [10.0], {"processor": "Abacus 3000"})


def combination(name="tiny", threads=1, runtime="onnxruntime"):
    return Combination(NamedModel(name, "bundle", name, False), runtime, "float32", threads, sys.executable)


def test_figures_are_medians_of_rounds():
    rounds = [answer([1.0, 2.0, 9.0], 90), answer([4.0, 4.0, 4.0], 110), answer([3.0, 3.0, 8.0], 400)]
    weighed = {"peak_memory_bytes": {"10": 5_000_000}, "parameters": 12, "macs_per_10s": 34, "joules_per_10s": 0.5}
    alone, eight = bench_rows(run_of(Measured(combination(), rounds, weighed)))
    assert (alone["batch"], eight["batch"]) == (1, 8)
    assert alone["milliseconds"] == 3.0  # of the medians 2, 4 and 3
    assert (alone["milliseconds_fastest_round"], alone["milliseconds_slowest_round"]) == (2.0, 4.0)
    assert alone["milliseconds_p95"] == pytest.approx(np.percentile([1, 2, 9, 4, 4, 4, 3, 3, 8], 95))
    assert alone["real_time_factor"] == pytest.approx(3e-4)
    assert (alone["cold_start_ms"], alone["cold_start_ms_slowest_round"]) == (110, 400)
    assert (alone["calls"], alone["rounds"], alone["net_ms"], alone["front_end_ms"]) == (9, 3, 4.0, 1.0)
    assert (alone["parameters"], alone["macs_per_10s"], alone["joules_per_10s"]) == (12, 34, 0.5)
    assert (alone["peak_memory_bytes"], alone["processor"]) == (5_000_000, "Abacus 3000")


def test_the_table_marks_the_fastest_and_the_notes_name_what_disturbed_them():
    slow = Measured(combination(), [answer([8.0], busy=0.5)] * 2)
    fast = Measured(combination(runtime="openvino"), [answer([2.0], busy=0.6), answer([3.0], busy=0.6)])
    crowd = Measured(combination("other"), [answer([5.0], busy=1.9)])
    failed = Measured(combination("bad"), error="it is broken")
    done = run_of(slow, fast, crowd, failed)
    shown = to_table(done)
    assert [row.style for row in shown.rows] == [None, "bold", None]
    assert list(shown.columns[4].cells) == ["8.00", "2.50", "5.00"]
    message = " ".join(format_notes(done))
    assert "other in onnxruntime used 1.9 cores, more than its 1 threads" in message
    assert "a process got 60% of the core" in message
    assert format_failures(done) == ["bad in onnxruntime float32: it is broken"]
    assert to_table(run_of(failed)) is None
    calm = " ".join(format_notes(run_of(Measured(combination(), [answer([8.0], busy=0.99)] * 2))))
    assert "busy" not in calm


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threads", "0", "threads is 0"),
        ("--threads", "100000", "from 1 to"),
        ("--threads", "two", "such as 1,2"),
        ("--seconds", "0", "seconds is 0"),
        ("--seconds", "ten", "such as 10,1"),
        ("--rounds", "0", "rounds is 0"),
        ("--runtime", "torchy", "did you mean torch"),
        ("--against", "./nowhere", "there is no file or folder nowhere"),
    ],
)
def test_options_out_of_range_get_an_error_message(option, value, message, tiny_bundle, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", str(tiny_bundle), "--out", str(tmp_path / "out"), option, value])
    message = capsys.readouterr().err
    assert left.value.code == 2
    assert message in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def scripted(monkeypatch, *answers):
    """Workers that answer what is given, in turn; an exception is raised."""
    left = iter(answers)

    def run(*_, env, **__):
        assert env["OPENBLAS_NUM_THREADS"] == "1"
        message = next(left)
        if isinstance(message, BaseException):
            raise message
        return message

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.setattr(benching.subprocess, "run", run)


def reports(values):
    return types.SimpleNamespace(returncode=0, stdout=f"noise\n{json.dumps(values)}\n", stderr="")


def dies(code, message=""):
    return types.SimpleNamespace(returncode=code, stdout="", stderr=message)


def test_what_was_measured_before_ctrl_c_is_kept(monkeypatch, tiny_bundle, tmp_path, capsys):
    second = write_tiny_bundle(tmp_path / "second", name="second")
    scripted(monkeypatch, reports(answer([5.0])), KeyboardInterrupt())
    names = [str(tiny_bundle), str(second), "--runtime", "onnxruntime", "--threads", "1"]
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", *names, "--out", str(tmp_path / "out"), "--quiet"])
    assert left.value.code == 130
    shown = capsys.readouterr()
    assert "5.00" in shown.out
    assert "stopped" in shown.err
    table = list(csv.DictReader((tmp_path / "out" / "bench.csv").open()))
    assert [(row["model"], row["milliseconds"]) for row in table] == [("tiny", "5.0"), ("tiny", "5.0"), ("second", "")]
    assert table[2]["error"] == "stopped before it was measured"
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["stopped"] is True


def test_stages_are_numbered(monkeypatch, tiny_bundle, tmp_path, capsys):
    scripted(monkeypatch, reports(answer([5.0])), reports(answer([5.0])), reports({"peak_memory_bytes": {"10": 1}}))
    bench([str(tiny_bundle)], tmp_path / "out", runtimes=["onnxruntime"], threads=[1], rounds=2)
    printed = capsys.readouterr().err
    assert stages_in(printed) == ["times", "memory and energy"]
    assert "1 of 2: times: 2 of 2 processes" in printed and "memory and energy: 1 of 1 processes" in printed


def test_a_memory_process_that_dies_leaves_the_times(monkeypatch, tiny_bundle, tmp_path, capsys):
    scripted(monkeypatch, reports(answer([5.0])), dies(-9))
    names = [str(tiny_bundle), "--runtime", "onnxruntime", "--threads", "1", "--rounds", "1"]
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", *names, "--out", str(tmp_path / "out"), "--quiet"])
    assert left.value.code == 1
    shown = capsys.readouterr()
    assert "5.00" in shown.out
    assert "failed: tiny in onnxruntime float32: memory and energy: its process was ended by signal 9" in shown.err
    (alone, _) = csv.DictReader((tmp_path / "out" / "bench.csv").open())
    assert (alone["milliseconds"], alone["peak_memory_bytes"]) == ("5.0", "")
    assert alone["error"].startswith("memory and energy: its process was ended by signal 9")


@pytest.mark.parametrize(
    ("died", "message"),
    [
        (dies(1, "warning\nit is broken\n"), "it is broken"),
        (dies(-9), "ended by signal 9 (the system ends a process that takes too much memory)"),
        (dies(-11), "ended by signal 11"),
        (dies(3), "ended with code 3"),
        (benching.subprocess.TimeoutExpired("x", 1), "had not ended after 600 s"),
    ],
)
def test_a_process_that_dies_is_an_error_message_and_the_others_go_on(
    died, message, monkeypatch, tiny_bundle, tmp_path, capsys
):
    second = write_tiny_bundle(tmp_path / "second", name="second")
    scripted(monkeypatch, died, reports(answer([5.0])), reports({"peak_memory_bytes": {"10": 1}}))
    names = [str(tiny_bundle), str(second), "--runtime", "onnxruntime", "--threads", "1", "--rounds", "1"]
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", *names, "--out", str(tmp_path / "out"), "--quiet"])
    assert left.value.code == 1
    shown = capsys.readouterr()
    assert "failed: tiny in onnxruntime float32: " in shown.err
    assert message in shown.err
    assert "second" in shown.out

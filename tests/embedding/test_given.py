"""What embed and classify take: lists, tar files and addresses wherever files are."""

import gc
import io
import tarfile
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE
from helpers.tiny_encoder import Tiny
from sondino import cli
from sondino.embedding.detect import detect_files
from sondino.embedding.files import embed_files
from sondino.embedding.inputs import list_inputs
from sondino.embedding.table_readers import read_rows
from sondino.encoder.head import Head
from sondino.errors import AudioError, OptionError, SondinoError
from sondino.model.bundle import copy_with_head

HEAD = Head("levels", ("loud",), True, ((np.array([[0, 0, 20.0]]), np.array([-10.0])),))


def wav(*peaks: float) -> bytes:
    """A WAV with a second of each peak."""
    file = io.BytesIO()
    sound = np.concatenate([np.full(RATE, peak, np.float32) for peak in peaks])
    soundfile.write(file, sound, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    (tmp_path / "sounds" / "sub").mkdir(parents=True)
    (tmp_path / "sounds" / "a.wav").write_bytes(wav(0.1, 0.9, 0.3))
    (tmp_path / "sounds" / "sub" / "b.wav").write_bytes(wav(0.2))
    return tmp_path / "sounds"


@pytest.fixture
def model(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> sondino.Model:
    return sondino.load(copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {}))


def rows_of(output: Path) -> list[tuple[str, float]]:
    return [
        (name, round(float(row[2]), 3))
        for rows in read_rows(output)
        for name, row in zip(rows.ids, rows.embeddings, strict=True)
    ]


def spans(*inputs: object, model: sondino.Model) -> list[tuple[str, str, float, float]]:
    found: list[tuple[str, str, float, float]] = []
    detect_files(
        list(inputs),  # type: ignore[arg-type]
        model,
        show=lambda one: found.extend((one.path, one.file, d.start, d.end) for d in one.detections),
    )
    return found


# ---- lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_list_gives_files_and_stretches(form: str, sounds: Path, tmp_path: Path) -> None:
    columns = {
        "path": ["a.wav", "a.wav", "sub/b.wav", "gone.wav", "a.wav", "a.wav"],
        "start": [1, 2, None, None, 2, -1],
        "end": [2, None, None, None, 1, 1],
        "label": ["x", "", "y", "", "", ""],
    }
    if form == "csv":
        lines = zip(*(["" if cell is None else str(cell) for cell in cells] for cells in columns.values()), strict=True)
        (sounds / "list.csv").write_text("\n".join([",".join(columns), *map(",".join, lines)]))
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="the tables extra is not installed")
        import pyarrow

        parquet.write_table(pyarrow.table(columns), sounds / "list.parquet")
    report = embed_files(sounds / f"list.{form}", Tiny(), tmp_path / "o.npz")
    assert rows_of(tmp_path / "o.npz") == [("a.wav#t=1,2", 0.9), ("a.wav#t=2", 0.3), ("sub/b.wav", 0.2)]
    lines_of = ("line 6", "line 7") if form == "csv" else ("row 5", "row 6")
    assert sorted((Path(path).name, reason) for path, reason in report.skipped) == sorted(
        [
            ("gone.wav", "no such file; check the path"),
            (f"{lines_of[0]} of list.{form}", "its end is not after its start"),
            (f"{lines_of[1]} of list.{form}", "its start is -1 s, before the file's"),
        ]
    )


def test_the_ids_of_a_list_are_those_of_the_table(sounds: Path, tmp_path: Path) -> None:
    (sounds / "list.csv").write_text("path,id\na.wav,one\nsub/b.wav,two\n")
    embed_files(sounds / "list.csv", Tiny(), tmp_path / "o.csv")
    assert [name for name, _ in rows_of(tmp_path / "o.csv")] == ["one", "two"]
    (sounds / "list.csv").write_text("path,id\na.wav,one\nsub/b.wav,one\n")
    with pytest.raises(OptionError, match=r"list\.csv has the id one twice"):
        embed_files(sounds / "list.csv", Tiny(), tmp_path / "o.csv")
    (sounds / "list.csv").write_text("path,onset\na.wav,1\n")
    with pytest.raises(OptionError, match="column 'onset': write 'start'"):
        embed_files(sounds / "list.csv", Tiny(), tmp_path / "o.csv")
    (sounds / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OptionError, match="has no column path"):
        embed_files([sounds, sounds / "list.csv"], Tiny(), tmp_path / "o.csv")


def test_columns_of_a_list_that_nobody_reads_are_named(sounds: Path, model: sondino.Model, tmp_path: Path) -> None:
    (sounds / "list.csv").write_text(
        "path,site,end,label,split,source,note\na.wav,1,2,x,test,y,loud\nsub/b.wav,,1,,,,\n"
    )
    sentence = "list.csv has columns that are not read: site, note"
    for call in (
        lambda: embed_files(sounds / "list.csv", Tiny(), tmp_path / "o.npz"),
        lambda: detect_files(sounds / "list.csv", model, tmp_path / "o.csv"),
        lambda: sondino.classify_files(sounds / "list.csv", model, tmp_path / "o.csv"),
    ):
        with pytest.warns(UserWarning) as said:
            call()
        assert [str(each.message) for each in said] == [sentence]
    (sounds / "list.csv").write_text("path,end,label,fold,source\na.wav,2,x,1,y\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every column is read, if not here
        embed_files(sounds / "list.csv", Tiny(), tmp_path / "o.npz")


@pytest.mark.parametrize("command", ["embed", "classify"])
def test_the_command_names_them_once_and_on_standard_error(
    command: str, sounds: Path, model: sondino.Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = {}
    for number, quiet in enumerate(([], ["--quiet"])):
        (sounds / "list.csv").write_text(f"path,site{number}\na.wav,1\n")  # Python says the same only once
        given = [command, sounds / "list.csv", "--model", tmp_path / "bundle", "--output", "-", *quiet]
        with pytest.raises(SystemExit, match="0"):
            cli.main([str(each) for each in given])
        shown[number] = capfd.readouterr()
        assert shown[number].err.count(f"note: list.csv has columns that are not read: site{number}\n") == 1
    (sounds / "list.csv").write_text("path\na.wav\n")
    with pytest.raises(SystemExit, match="0"):
        cli.main([str(each) for each in given])
    assert capfd.readouterr().out == shown[0].out == shown[1].out


def test_a_broken_file_behind_a_stretch_is_named_once(sounds: Path, tmp_path: Path) -> None:
    (sounds / "broken.wav").write_text("no sound")
    (sounds / "list.csv").write_text("path,start,end\na.wav,1,2\nbroken.wav,1,2\n")
    report = embed_files([sounds / "list.csv", f"{sounds / 'broken.wav'}#t=3"], Tiny(), tmp_path / "o.npz")
    names = [Path(path).name for path, _ in report.skipped]
    assert names == ["broken.wav#t=1,2", "broken.wav#t=3"]
    assert not [reason for _, reason in report.skipped if "broken.wav" in reason]


def test_detections_of_a_list_have_the_times_of_the_files(sounds: Path, model: sondino.Model) -> None:
    (sounds / "list.csv").write_text("path,start,end\na.wav,1,3\n")
    assert [found[2:] for found in spans(sounds / "list.csv", model=model)] == [(1, 2)]


# ---- tar files ------------------------------------------------------------------------------------------------


def pack(file: Path, **members: bytes) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def test_a_tar_file_is_as_a_folder(tmp_path: Path, model: sondino.Model) -> None:
    shard = pack(tmp_path / "s.tar", x__a_wav=wav(0.9), b_wav=wav(0.2, 0.9), b_txt=b"dog", c_wav=b"no sound")
    report = embed_files(shard, Tiny(), tmp_path / "o.npz", channel="each")
    assert rows_of(tmp_path / "o.npz") == [("x/a.wav", 0.9), ("b.wav", 0.55)]
    assert [(path, reason[:11]) for path, reason in report.skipped] == [(f"{shard.as_posix()}/c.wav", "not a sound")]
    assert spans(shard, model=model) == [
        ("x/a.wav", str(shard / "x" / "a.wav"), 0, 1),
        ("b.wav", str(shard / "b.wav"), 1, 2),
    ]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.wav").write_bytes(wav(0.4))
    pack(tmp_path / "shards" / "1.tar", b_wav=wav(0.5))
    embed_files([tmp_path / "shards", shard], Tiny(), tmp_path / "two.npz")
    assert [name for name, _ in rows_of(tmp_path / "two.npz")] == ["0.wav", "1.tar/b.wav", "x/a.wav", "b.wav"]
    with pytest.raises(AudioError, match="no audio found in this tar file"):
        embed_files(pack(tmp_path / "none.tar", b_txt=b"dog"), Tiny(), tmp_path / "o.npz")
    (tmp_path / "cut.tar").write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(SondinoError, match=r"cut\.tar"):
        embed_files(tmp_path / "cut.tar", Tiny(), tmp_path / "o.npz")


def test_a_tar_file_grows_a_table(tmp_path: Path) -> None:
    shard = pack(tmp_path / "s.tar", a_wav=wav(0.9))
    assert embed_files(shard, Tiny(), tmp_path / "o.npz", append=True).files == 1
    report = embed_files(shard, Tiny(), tmp_path / "o.npz", append=True)
    assert (report.files, report.kept, report.gone) == (0, 1, 0)
    pack(tmp_path / "t.tar", a_wav=wav(0.3))
    shard.unlink()
    report = embed_files(tmp_path / "t.tar", Tiny(), tmp_path / "o.npz", append=True)
    assert (report.files, report.kept, report.gone) == (1, 1, 1)
    assert rows_of(tmp_path / "o.npz") == [("a.wav", 0.9), (f"{(tmp_path / 't.tar').as_posix()}/a.wav", 0.3)]


# ---- addresses ------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[str]:
    """Answers with a sound at /a//b.wav, without a length at /live.wav, and with text at /text.wav."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = {"/a//b.wav?x=1": wav(0.9, 0.1), "/live.wav": wav(0.9), "/text.wav": b"no sound"}.get(self.path)
            self.send_response(404 if content is None else 200)
            if self.path != "/live.wav":
                self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()
    thread.join()


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_an_address_is_fetched_and_named_in_the_table(
    server: str,
    model: sondino.Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    address = f"{server}/a//b.wav?x=1"
    assert call("embed", address, "--model", model.folder, "--output", tmp_path / "o.csv") == 0
    assert rows_of(tmp_path / "o.csv") == [(address, pytest.approx(0.5))]
    assert f"fetching {address}: 128 of 128 kB" in capfd.readouterr().err
    assert spans(address, model=model) == [(address, address, 0, 1)]
    (tmp_path / "list.csv").write_text(f"path,start\n{address},1\n{server}/gone.wav,\n")
    report = embed_files(tmp_path / "list.csv", Tiny(), tmp_path / "o.npz", append=True)
    assert rows_of(tmp_path / "o.npz") == [(f"{address}#t=1", pytest.approx(0.1))]
    assert [(path, "404" in reason) for path, reason in report.skipped] == [(f"{server}/gone.wav", True)]
    report = embed_files(tmp_path / "list.csv", Tiny(), tmp_path / "o.npz", append=True)
    assert (report.files, report.kept, report.gone) == (0, 1, 0)
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/gone.wav", r"cannot fetch http.*/gone\.wav \(the server answered 404 Not Found\): save it to a file first"),
        ("/live.wav", r"live\.wav \(the server does not state its size, as of a live stream\): .* `sondino listen`"),
        ("/text.wav", r"none of the 1 files could be decoded.*/text\.wav: not a sound"),
    ],
)
def test_an_address_that_gives_no_sound_is_one_message(server: str, path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SondinoError, match=message):
        embed_files(f"{server}{path}", Tiny(), tmp_path / "o.npz")
    assert not (tmp_path / "o.npz").exists()


def test_a_machine_that_does_not_answer_is_one_message(server: str, tmp_path: Path) -> None:
    with pytest.raises(SondinoError, match=r"cannot fetch http://127\.0\.0\.1:1/a\.wav \(.*refused.*\): save it"):
        list_inputs("http://127.0.0.1:1/a.wav")

"""The page's folder: what is in it, what it refuses, and the server that shows it."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.page_bundle import DIM, LABELS, write_page_bundle
from sondino import loopback
from sondino.encoder.unlike import Unlike
from sondino.errors import AudioError, OptionError, RunError
from sondino.exporters import demo, web
from sondino.loopback import PageServer
from sondino.model.model import Model
from sondino.onnx_weights import with_weights
from sondino.sample_sounds import sample_folder

CLIPS = Path(__file__).parents[1] / "data" / "clips"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built page of one file, in place of the real one, which needs Node.js to be built."""
    page = tmp_path / "built"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<title>sondino</title>")
    for name in ("label.html", "assets/label-a1.js", "assets/label-b2.css"):  # of `sondino label`, which stay here
        (page / name).touch()
    (page / "assets" / "ort.wasm.gz").write_bytes(gzip.compress(b"\0asm"))
    monkeypatch.setattr(web, "PAGE", page)
    return page


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_page_bundle(tmp_path / "bundle", teachers=[{"spec": "t", "licence": "CC BY-NC"}])


@pytest.mark.usefixtures("built")
def test_the_folder_holds_the_page_the_model_and_the_gallery(bundle: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    out = web.export_web(bundle, tmp_path / "page", gallery=CLIPS, progress=lambda *done: told.append(done))
    count = len(list(CLIPS.glob("*.ogg")))
    assert told == [(number, count) for number in range(1, count + 1)]
    assert (out / "index.html").read_text() == "<title>sondino</title>" and not (out / "label.html").exists()
    assert {file.name: file.read_bytes() for file in (out / "assets").iterdir()} == {"ort.wasm": b"\0asm"}
    facts = json.loads((out / "model" / "model.json").read_text())
    clips = sorted(CLIPS.glob("*.ogg"))
    assert [clip["name"] for clip in facts["gallery"]] == [clip.stem for clip in clips]
    for clip, reported in zip(clips, facts["gallery"], strict=True):
        assert (out / "model" / reported["file"]).read_bytes() == clip.read_bytes()
    model = Model(bundle)
    vectors = np.fromfile(out / "model" / "gallery.bin", "<f4").reshape(len(clips), model.dim)
    np.testing.assert_allclose(vectors, model.embed(list(clips)), atol=1e-6)
    assert (facts["window"], facts["hop"], facts["fixed"], facts["short"]) == (32000, None, None, "repeat")
    assert facts["licence"] == "not known; of its teacher: CC BY-NC"
    assert facts["head"]["labels"] == list(LABELS)
    assert model.head is not None
    weights = np.fromfile(out / "model" / "head.bin", "<f4")
    assert np.array_equal(weights, np.concatenate([model.head.layers[0][0].ravel(), model.head.layers[0][1]]))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.usefixtures("built")
def test_the_score_of_what_is_unlike_goes_with_the_head(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    score = Unlike(rng.standard_normal((2, DIM)), np.eye(1, DIM), np.array([2, 1]), np.array([0, 1, 3]))  # type: ignore[arg-type]
    scored = write_page_bundle(tmp_path / "scored", unlike=score)
    folder = web.export_web(scored, tmp_path / "page", gallery=CLIPS) / "model"
    facts = json.loads((folder / "model.json").read_text())
    assert facts["head"]["unlike"] == {"classes": 2, "rank": 1, "quantiles": 3}
    expected = np.concatenate([array.ravel() for array in (score.means, score.directions, score.variances)])
    assert np.array_equal(np.fromfile(folder / "unlike.bin", "<f4"), [*expected, 0, 1, 3])
    folder = web.export_web(bundle, tmp_path / "page", gallery=CLIPS) / "model"
    assert json.loads((folder / "model.json").read_text())["head"]["unlike"] is None
    assert not (folder / "unlike.bin").exists()


@pytest.mark.usefixtures("built")
def test_the_net_stands_alone_and_gives_the_same(bundle: Path, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    out = web.export_web(bundle, tmp_path / "page", gallery=CLIPS)
    file = out / "model" / "body.onnx"
    graph = onnx.load(str(file), load_external_data=False).graph
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.initializer)
    mels = np.random.default_rng(0).standard_normal((2, 128, 31)).astype(np.float32)
    vectors = []
    for path in (bundle / "body.onnx", file):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        vectors.append(session.run(None, {"logmel": mels})[0])
    assert np.array_equal(*vectors)


@pytest.mark.usefixtures("built")
def test_half_precision_halves_the_net_and_keeps_its_vectors(bundle: Path, tmp_path: Path) -> None:
    import onnxruntime

    mels = np.random.default_rng(0).standard_normal((2, 128, 31)).astype(np.float32)
    vectors, sizes = [], []
    for precision in ("f32", "f16"):
        file = web.export_web(bundle, tmp_path / precision, precision, CLIPS) / "model" / "body.onnx"
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        vectors.append(session.run(None, {"logmel": mels})[0])
        sizes.append(file.stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    np.testing.assert_allclose(*vectors, atol=2e-3)


@pytest.mark.usefixtures("built")
def test_a_fixed_length_a_quantised_bundle_and_one_without_a_head(tmp_path: Path) -> None:
    fixed = write_page_bundle(tmp_path / "fixed", fixed=True, with_head=False, precision="int8")
    out = web.export_web(fixed, tmp_path / "page", "int8", CLIPS)
    facts = json.loads((out / "model" / "model.json").read_text())
    assert (facts["fixed"], facts["head"]) == (32000, None)
    assert not (out / "model" / "head.bin").exists()
    with pytest.raises(OptionError, match=r"bundle in int8.*page of f32.*--precision int8"):
        web.export_web(fixed, tmp_path / "other", "f32", CLIPS)


@pytest.mark.usefixtures("built")
def test_a_list_is_a_gallery_in_its_order(tmp_path: Path) -> None:
    names = [clip.name for clip in sorted(CLIPS.glob("*.ogg"))[:2]]
    rows = "".join(f"{CLIPS / name},kind {n},CC0,Ada\n" for n, name in enumerate(reversed(names)))
    (tmp_path / "list.csv").write_text("path,label,licence,author\n" + rows + f"{tmp_path / 'notes.txt'},x,,\n")
    clips = web.gallery_clips(tmp_path / "list.csv")
    assert [(clip.file.name, clip.group, clip.author) for clip in clips] == [
        (names[1], "kind 0", "Ada"),
        (names[0], "kind 1", "Ada"),
    ]
    with pytest.raises(OptionError, match="name a folder of sounds for the gallery, or a list"):
        web.gallery_clips(CLIPS / names[0])


def test_the_shipped_sounds_are_the_gallery_with_their_licences(bundle: Path, tmp_path: Path) -> None:
    facts = json.loads((web.export_web(bundle, tmp_path / "page") / "model" / "model.json").read_text())
    assert len(facts["gallery"]) == len(list((sample_folder() / "audio").glob("*.ogg")))
    first = facts["gallery"][0]
    assert (first["name"], first["group"], first["licence"], first["author"]) == (
        *("ambi_choir", "ambience"),
        *("CC0", "2013 Exsomniel"),
    )


@pytest.mark.usefixtures("built")
def test_a_gallery_of_ones_own(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "dogs").mkdir(parents=True)
    soundfile.write(folder / "dogs" / "Rex #1.wav", np.full(9000, 0.1), 16000)
    soundfile.write(folder / "alone.flac", np.full(9000, 0.1), 16000)
    soundfile.write(folder / "not played.aiff", np.full(9000, 0.1), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    with pytest.warns(UserWarning, match=r"broken\.wav is left out of the gallery"):
        out = web.export_web(bundle, tmp_path / "page", gallery=folder)
    rows = json.loads((out / "model" / "model.json").read_text())["gallery"]
    assert [(row["name"], row["group"], row["seconds"]) for row in rows] == [
        ("alone", "", 0.562),
        ("Rex #1", "dogs", 0.562),
    ]


@pytest.mark.usefixtures("built")
def test_what_cannot_be_exported_gets_a_message_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "page"
    empty = tmp_path / "empty"
    empty.mkdir()
    odd = tmp_path / "odd"
    odd.mkdir()
    soundfile.write(odd / "a.aiff", np.zeros(9000), 16000)
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "a.wav").write_bytes(b"")
    for gallery, error, words in (
        (tmp_path / "none", AudioError, "no such file or folder"),
        (empty, AudioError, "no audio found"),
        (odd, OptionError, "no sound that browsers play"),
        (silent, OptionError, "no sound of the gallery can be decoded"),
        (bundle / "config.json", OptionError, "is a file"),
    ):
        with pytest.raises(error, match=words):
            web.export_web(bundle, out, gallery=gallery)
    with pytest.raises(OptionError, match="sondino quantize"):
        web.export_web(bundle, out, "int8")
    (bundle / "body.onnx").unlink()
    config = json.loads((bundle / "config.json").read_text())
    config["hashes"].pop("body.onnx")
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(OptionError, match=r"has no body\.onnx"):
        web.export_web(bundle, out)
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.usefixtures("built")
def test_only_an_older_page_is_replaced(bundle: Path, tmp_path: Path) -> None:
    out = web.export_web(bundle, tmp_path / "page", gallery=CLIPS)
    (out / "old").write_text("")
    web.export_web(bundle, out, gallery=CLIPS)
    assert not (out / "old").exists()
    with pytest.raises(OptionError, match="is no page of ours"):
        web.export_web(bundle, bundle)
    with pytest.raises(OptionError, match="is a file"):
        web.export_web(bundle, bundle / "config.json")


def test_without_a_built_page_the_message_has_the_command(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "PAGE", tmp_path / "nothing")
    with pytest.raises(RunError, match="make web"):
        web.export_web(bundle, tmp_path / "page")


@pytest.mark.usefixtures("built")
def test_weights_that_are_missing_are_noticed(bundle: Path, tmp_path: Path) -> None:
    whole = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(whole[:2000])
    with pytest.raises(ValueError, match=r"model\.onnx ends before a weight"):
        with_weights(bundle / "body.onnx")
    (bundle / "body.onnx").write_bytes(b"\x0b nonsense")
    with pytest.raises(ValueError, match="field"):
        with_weights(bundle / "body.onnx")


def get(address: str) -> tuple[dict[str, str], bytes]:
    with urllib.request.urlopen(address) as answer:
        return dict(answer.headers), answer.read()


def test_the_server_gives_types_that_browsers_insist_on(tmp_path: Path) -> None:
    for name in ("index.html", "a.js", "a.wasm", "model.json", "a.ogg"):
        (tmp_path / name).write_bytes(b"1")
    with demo.page_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host, port = server.server_address[:2]
        root = f"http://{host}:{port}/"
        assert host == "127.0.0.1"
        for name, kind in (("", "text/html"), ("a.js", "text/javascript"), ("a.wasm", "application/wasm")):
            headers, content = get(root + name)
            assert (headers["Content-type"], content) == (kind, b"1")
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(root + "../../etc/passwd")
        with pytest.raises(OptionError, match=rf"port {port} is taken.*--port"):
            demo.page_server(tmp_path, port)
        server.shutdown()
    for port in (-1, 70000):
        with pytest.raises(OptionError, match="from 0 to 65535"):
            demo.page_server(tmp_path, port)


def ask(server: PageServer, request: str) -> bytes:
    """The whole answer to a request, by a connection of its own."""
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[PageServer]:
    """A server of a folder with a page, model/model.json, and the file big."""
    (tmp_path / "index.html").write_text("PAGE")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    with demo.page_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_the_server_answers_for_this_machines_names_alone(page: PageServer) -> None:
    port = page.server_address[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}"):
        answer = ask(page, f"GET / HTTP/1.1\nHost: {host}\nConnection: close\n\n")
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"PAGE")
    local = f"127.0.0.1:{port}"
    others = [
        f"Host: {host}\n"
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"localhost:{port + 1}", f"{local}.evil", "")
    ]
    for headers in (*others, "", f"Host: evil.example\nHost: {local}\n", f"Host: {local}\nHost: evil.example\n"):
        for path in ("/", "/model/model.json", "/absent"):
            answer = ask(page, f"GET {path} HTTP/1.1\n{headers}\n")
            assert answer.startswith(b"HTTP/1.1 421"), headers
            assert f"http://{local}/".encode() in answer and b"PAGE" not in answer


@pytest.mark.parametrize(
    "path",
    ["/%00", "/a%00.js", "/model/", "/model", "/model/%00/", "/" + "a" * 5000, "/%ed%a0%80", "/%ff", "/../x", "/x/"],
)
def test_a_path_without_a_file_is_not_found_and_no_folder_is_listed(path, page, capfd) -> None:
    request = f"{{}} {path} HTTP/1.1\nHost: localhost:{page.server_address[1]}\nConnection: close\n\n"
    for method in ("GET", "HEAD"):
        status = ask(page, request.format(method)).split()[1]
        if path == "/model":  # to the folder with a slash, which is refused
            assert status == b"301"
        else:
            assert status == b"404", method
    assert capfd.readouterr().err == ""


@pytest.mark.full
def test_connections_are_bounded_and_idle_ones_end(page, monkeypatch, capfd) -> None:
    at_start = set(threading.enumerate())  # by name: a thread of an earlier test may end meanwhile

    def new_threads() -> int:
        return len(set(threading.enumerate()) - at_start)

    address = page.server_address[:2]
    with ExitStack() as opened:
        idle = [
            opened.enter_context(socket.create_connection(address, timeout=60)) for _ in range(loopback.CONNECTIONS)
        ]
        while len(page.waiting) < loopback.CONNECTIONS:  # each of them has its thread
            time.sleep(0.01)
        assert new_threads() == loopback.CONNECTIONS
        assert ask(page, "").startswith(b"HTTP/1.1 503")
        assert new_threads() == loopback.CONNECTIONS
        idle[0].sendall(b"GET / HTTP/1.1\r\nHo")  # a request that never ends
        monkeypatch.setattr(loopback, "IDLE_SECONDS", 0.0)
        assert [connection.recv(10) for connection in idle] == [b""] * loopback.CONNECTIONS
    monkeypatch.undo()
    while new_threads():
        time.sleep(0.01)
    local = f"Host: 127.0.0.1:{address[1]}\nConnection: close\n\n"
    assert ask(page, f"GET / HTTP/1.1\n{local}").endswith(b"PAGE")
    assert not page.waiting
    assert capfd.readouterr().err == ""
    assert loopback.PageHandler.timeout == loopback.IDLE_SECONDS


@pytest.mark.slow
@pytest.mark.skipif(not (web.PAGE / "index.html").is_file(), reason="the page is not built: make web")
def test_demo_serves_the_page_and_ends_quietly(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "sondino", "demo", str(bundle), "--port", "0", "--gallery", str(CLIPS)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # What runs the tests in the background may have Ctrl-C ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            address = process.stdout.readline().split()[1]
            assert b"sondino" in get(address)[1]
            assert json.loads(get(address + "model/model.json")[1])["name"] == "page-test"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
    assert not list(tmp_path.glob("sondino-demo-*"))

"""Streams: the tiny model's embeddings of sound that comes in chunks are those of the same sound in a file."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.piped import Chunks, cut_up, raw, wav
from helpers.skips import needs_posix
from helpers.sounds import noise
from helpers.tiny_bundle import TINY_RATE
from sondino.audio.pipe import READ
from sondino.embedding.streams import StreamEmbedding, embed_stdin, embed_stream, resampler_delay, write_stream
from sondino.errors import EncoderError, OptionError, RunError
from sondino.model.model import Model


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return sondino.load(tiny_bundle)


def stack(found: list[StreamEmbedding]) -> np.ndarray:
    return np.stack([embedding.embedding for embedding in found])


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("hop", [0.5, 1.0, 1.5, 0.3])
def test_the_vectors_are_those_of_the_file(rate: int, channels: int, hop: float, model: Model, tmp_path: Path) -> None:
    x = noise(rate, 4.37, channels)
    soundfile.write(tmp_path / "x.wav", x, rate, subtype="PCM_16")
    embeddings, starts = model.embed_windows(tmp_path / "x.wav", hop=hop)
    data = (tmp_path / "x.wav").read_bytes()
    for source in (Chunks(cut_up(data)), io.BytesIO(data)):
        found = list(embed_stream(model, source, hop=hop))  # type: ignore[arg-type]
        assert [embedding.start for embedding in found] == starts.tolist()
        np.testing.assert_allclose(stack(found), embeddings, atol=1e-6)


def test_channels_that_cancel_are_treated_as_in_a_file(model: Model, tmp_path: Path) -> None:
    x = noise(TINY_RATE, 3.0)[:, 0]
    stereo = np.stack([x, -x], axis=1)
    soundfile.write(tmp_path / "x.wav", stereo, TINY_RATE, subtype="FLOAT")
    embeddings, _ = model.embed_windows(tmp_path / "x.wav")
    chunks = Chunks(cut_up((tmp_path / "x.wav").read_bytes()))
    found = list(embed_stream(model, chunks, hop=1.0))  # type: ignore[arg-type]
    np.testing.assert_allclose(stack(found), embeddings, atol=1e-6)
    assert embeddings[0, 1] > 1e-3


def test_channels_are_not_scored_by_a_first_moment_that_cancels(model: Model, tmp_path: Path) -> None:
    x = noise(TINY_RATE, 2.0)
    stereo = np.concatenate([x, x], axis=1)
    stereo[:50, 1] *= -1
    stereo[50:, 1] *= 0.5
    soundfile.write(tmp_path / "x.wav", stereo, TINY_RATE, subtype="FLOAT")
    chunks = Chunks(cut_up((tmp_path / "x.wav").read_bytes(), sizes=(100,)))
    found = list(embed_stream(model, chunks, hop=1.0))  # type: ignore[arg-type]
    np.testing.assert_allclose(stack(found), model.embed_windows(tmp_path / "x.wav")[0], atol=1e-6)


# ---- as it goes -------------------------------------------------------------------------------------------------


def test_a_vector_comes_with_its_windows_last_sample(model: Model) -> None:
    tick = raw(np.full(TINY_RATE // 100, 0.25))  # 10 ms
    source = Chunks(tick for _ in range(1000))
    for count, _ in enumerate(embed_stream(model, source, TINY_RATE)):  # type: ignore[arg-type]
        assert source.given == len(tick) * (100 + 50 * count)
        if count == 5:
            break


def test_an_endless_stream_holds_no_more_than_a_window(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much has gone by, the model is given windows, and the pipe is asked for no more than it holds."""
    asked: list[int] = []

    class Endless:
        def read(self, limit: int) -> bytes:
            asked.append(limit)
            return np.full(800, len(asked) % 100, "<i2").tobytes()

    lengths = set()
    own = model.embed_prepared
    monkeypatch.setattr(model, "embed_prepared", lambda x: (lengths.add(x.shape), own(x))[1])
    held: list[int] = []
    stream = embed_stream(model, Endless(), TINY_RATE)  # type: ignore[arg-type]
    for _ in range(400):
        next(stream)
        held.append(sum(x.nbytes for x in reachable_arrays(stream)))
    assert lengths == {(1, TINY_RATE)} and max(asked) <= READ
    assert 4 * TINY_RATE <= max(held[200:]) <= max(held[:10]) < 1_000_000


def reachable_arrays(start: object) -> list[np.ndarray]:
    """The arrays and bytes that a generator and the generators in it hold."""
    found: dict[int, np.ndarray] = {}
    seen: set[int] = set()
    ahead: list[object] = [start]
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            found[id(thing)] = thing
        elif isinstance(thing, bytes):
            found[id(thing)] = np.frombuffer(thing, np.uint8)
        elif isinstance(thing, Iterator) and hasattr(thing, "gi_frame") and thing.gi_frame is not None:
            ahead += thing.gi_frame.f_locals.values()
        elif isinstance(thing, (list, tuple)):
            ahead += thing
    return list(found.values())


def test_the_latency_is_from_the_last_read(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    own = model.embed_prepared

    def slow(x: np.ndarray) -> np.ndarray:
        now[0] += 0.25
        return own(x)

    monkeypatch.setattr(model, "embed_prepared", slow)

    def ticks() -> Iterator[bytes]:
        for _ in range(4):
            now[0] += 1.0
            yield raw(np.full(TINY_RATE, 0.5))

    out = io.BytesIO()
    report = write_stream(embed_stream(model, Chunks(ticks()), TINY_RATE, hop=1.0), out)  # type: ignore[arg-type]
    assert report.embeddings == 4 and report.seconds == 4.0
    assert report.latency(0.5) == report.latency(0.95) == 0.25
    assert [json.loads(line)["latency"] for line in out.getvalue().splitlines()] == [0.25] * 4
    assert str(report) == "4 embeddings of 4.0 s of sound; latency a window: median 250 ms, 95 % within 250 ms"


def test_the_median_and_the_95_of_100() -> None:
    def late() -> Iterator[StreamEmbedding]:
        for milliseconds in range(100, 0, -1):
            at = time.perf_counter() - milliseconds
            yield StreamEmbedding(0.0, 1.0, np.zeros(1, np.float32), at, 0.01)

    report = write_stream(late(), io.BytesIO())
    assert report.latency(0.5) == pytest.approx(50, abs=1) and report.latency(0.95) == pytest.approx(95, abs=1)
    assert "up to 10 ms in the resampler" in str(report)


def test_the_resampler_holds_back_its_stated_delay(model: Model) -> None:
    assert resampler_delay(16000, 16000) == 0
    delay = resampler_delay(48000, TINY_RATE)
    assert 0 < delay < 0.2
    tick = raw(np.full(480, 0.25))  # 10 ms
    source = Chunks(tick for _ in range(1000))
    stream = embed_stream(model, source, 48000)  # type: ignore[arg-type]
    for count in range(5):
        assert next(stream).delay == delay
        behind = source.given / 2 / 48000 - (1 + 0.5 * count)
        assert 0 <= behind <= delay + 0.02


# ---- ends -------------------------------------------------------------------------------------------------------


def test_a_stream_under_a_window_gives_one_vector_by_the_policy_of_short_clips(model: Model) -> None:
    x = np.full(TINY_RATE // 4, 0.5)
    (found,) = embed_stream(model, io.BytesIO(raw(x)), TINY_RATE)
    np.testing.assert_allclose(found.embedding, [0.125, 0.0625, 0.5], atol=1e-4)
    assert (found.start, found.end) == (0.0, 0.25)
    (repeated,) = embed_stream(model, io.BytesIO(raw(x)), TINY_RATE, short="repeat")
    np.testing.assert_allclose(repeated.embedding, [0.5, 0.25, 0.5], atol=1e-4)


def test_a_window_of_ones_own(model: Model) -> None:
    found = list(embed_stream(model, io.BytesIO(raw(np.full(TINY_RATE, 0.5))), TINY_RATE, hop=0.25, window=0.5))
    assert [(embedding.start, embedding.end) for embedding in found] == [(0, 0.5), (0.25, 0.75), (0.5, 1.0)]


def test_a_model_of_any_length_needs_a_window(make_tiny_bundle: Callable[..., Path]) -> None:
    model = sondino.load(make_tiny_bundle(window=None))
    with pytest.raises(OptionError, match="--window"):
        list(embed_stream(model, io.BytesIO(b"\0\0"), 16000))
    assert len(list(embed_stream(model, io.BytesIO(bytes(4 * TINY_RATE)), TINY_RATE, hop=1.0, window=1.0))) == 2


def test_a_model_that_gives_nan_stops_the_stream(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "embed_prepared", lambda x: np.full((1, 3), np.nan, np.float32))
    with pytest.raises(EncoderError, match="at 0 s"):
        list(embed_stream(model, io.BytesIO(bytes(4 * TINY_RATE)), TINY_RATE))


# ---- written ----------------------------------------------------------------------------------------------------


def test_every_line_is_out_before_the_next_window(model: Model) -> None:
    class Out(io.BytesIO):
        flushed = b""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    out = Out()
    lines: list[int] = []

    def watched() -> Iterator[StreamEmbedding]:
        for embedding in embed_stream(model, io.BytesIO(bytes(8 * TINY_RATE)), TINY_RATE, hop=1.0):
            lines.append(out.flushed.count(b"\n"))
            yield embedding

    write_stream(watched(), out)
    assert lines == [0, 1, 2, 3]


def test_json_lines_and_csv_hold_the_same(model: Model, tmp_path: Path) -> None:
    x = raw(noise(TINY_RATE, 3.2)[:, 0])
    out, table = io.BytesIO(), io.BytesIO()
    write_stream(embed_stream(model, io.BytesIO(x), TINY_RATE), out)
    write_stream(embed_stream(model, io.BytesIO(x), TINY_RATE), table, "csv")
    found = list(embed_stream(model, io.BytesIO(x), TINY_RATE))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    rows = list(csv.reader(io.StringIO(table.getvalue().decode())))
    assert [(line["start"], line["end"]) for line in lines] == [(v.start, pytest.approx(v.end)) for v in found]
    assert rows[0] == ["id", "start", "v0", "v1", "v2"]
    assert [(row[0], float(row[1])) for row in rows[1:]] == [("-", embedding.start) for embedding in found]
    for embeddings in ([line["vector"] for line in lines], [row[2:] for row in rows[1:]]):
        assert np.array_equal(np.array(embeddings, np.float32), stack(found))


def test_a_reader_that_goes_away_and_ctrl_c_end_the_stream_quietly(model: Model) -> None:
    class Gone(io.BytesIO):
        def flush(self) -> None:
            if self.getvalue().count(b"\n") == 2:
                raise BrokenPipeError

    stream = embed_stream(model, io.BytesIO(bytes(20 * TINY_RATE)), TINY_RATE)
    assert write_stream(stream, Gone()).embeddings == 1

    def stopped() -> Iterator[StreamEmbedding]:
        yield next(stream)
        raise KeyboardInterrupt

    out = io.BytesIO()
    assert write_stream(stopped(), out).embeddings == 1
    assert out.getvalue().count(b"\n") == 1
    assert str(write_stream(iter(()), out)) == "no embeddings"


CODE = """
import sys
from pathlib import Path
import sondino
from sondino.embedding.streams import embed_stdin
report = embed_stdin(sondino.load(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, hop=0.5)
print(report, file=sys.stderr)
"""


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_real_pipe_gives_each_vector_while_it_is_open(tiny_bundle: Path) -> None:
    second = raw(np.full(TINY_RATE, 0.5))
    with start(tiny_bundle) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(wav(second, size=0xFFFFFFFF))
        process.stdin.flush()
        first = json.loads(process.stdout.readline())  # hangs if it waits for more than a window
        np.testing.assert_allclose(first["vector"], [0.5, 0.25, 0.5], atol=1e-4)
        process.stdin.write(second[: TINY_RATE + 3])  # half a second, and a sample and a half
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["start"] == 0.5
        process.stdin.close()
        rest = process.stdout.read()
        message = process.stderr.read().decode()
    assert process.returncode == 0
    assert len(rest.splitlines()) == 1  # the sample past the last window
    assert "3 embeddings of 1.5 s of sound; latency a window: median" in message


@needs_posix
def test_a_pipe_that_does_not_wait_has_not_ended(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    ended = threading.Event()

    def speak() -> None:
        while not os.get_blocking(theirs) and not ended.wait(0.001):
            pass
        with os.fdopen(ours, "wb") as pipe:
            pipe.write(wav(raw(np.full(TINY_RATE, 0.5))))

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        with os.fdopen(theirs) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert embed_stdin(model, tmp_path / "out.csv").embeddings == 1
    finally:
        ended.set()
        speaker.join()


def test_a_real_reader_that_goes_away(tiny_bundle: Path) -> None:
    with start(tiny_bundle) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(wav(raw(np.full(TINY_RATE, 0.5)), size=0xFFFFFFFF))
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            for _ in range(60):
                process.stdin.write(bytes(2 * TINY_RATE))
            process.stdin.close()
        except BrokenPipeError:
            pass
        message = process.stderr.read().decode()
    assert process.returncode == 0
    assert "Traceback" not in message and "BrokenPipe" not in message and "latency a window" in message


def test_a_file_grows_as_the_stream_goes(tiny_bundle: Path, tmp_path: Path) -> None:
    with start(tiny_bundle, tmp_path / "out.csv") as process:
        out, _ = process.communicate(wav(raw(np.full(2 * TINY_RATE, 0.5))))
    assert process.returncode == 0 and out == b""
    assert (tmp_path / "out.csv").read_text().count("\n") == 4


@pytest.mark.parametrize(("name", "message"), [("out.npz", ".jsonl or .csv"), ("gone/out.csv", "could not be written")])
def test_outputs_that_are_rejected(
    name: str, message: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "in.wav").open("wb+") as file:
        file.write(wav(bytes(4 * TINY_RATE)))
        file.seek(0)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        with pytest.raises((OptionError, RunError), match=message):
            embed_stdin(model, tmp_path / name)


@needs_posix
def test_a_terminal_is_no_sound(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(OptionError, match="nothing is piped in"):
            embed_stdin(model)
    os.close(ours)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(OptionError, match="nothing is piped in"):
        embed_stdin(model)

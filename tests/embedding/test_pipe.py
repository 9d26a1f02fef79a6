"""Audio from a pipe, complete or broken, and the tiny model's embeddings of it."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.piped import Chunks, cut_up, raw, wav
from helpers.sounds import noise, pipe_av
from helpers.tiny_bundle import TINY_RATE, tiny_vectors
from sondino.embedding.streams import StreamEmbedding, embed_stream
from sondino.errors import AudioError, OptionError, SondinoError
from sondino.model.model import Model


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return sondino.load(tiny_bundle)


def stack(found: list[StreamEmbedding]) -> np.ndarray:
    return np.stack([embedding.embedding for embedding in found])


@pytest.mark.parametrize("sample_format", ["s16le", "s24le", "s32le", "f32le"])
def test_raw_samples_in_odd_chunks(sample_format: str, model: Model) -> None:
    x = noise(TINY_RATE, 2.6)[:, 0]
    found = list(embed_stream(model, Chunks(cut_up(raw(x, sample_format))), TINY_RATE, sample_format))  # type: ignore[arg-type]
    starts = [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [embedding.start for embedding in found] == starts
    assert [embedding.end for embedding in found] == pytest.approx([1.0, 1.5, 2.0, 2.5, 2.6])
    padded = np.concatenate([x, np.zeros(TINY_RATE, np.float32)])
    windows = [padded[round(start * TINY_RATE) :][:TINY_RATE] for start in starts]
    np.testing.assert_allclose(stack(found), tiny_vectors(np.stack(windows)), atol=1e-4)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, None])
def test_a_header_that_leaves_the_length_open(size: int | None, model: Model, recwarn: pytest.WarningsRecorder) -> None:
    x = np.full(2 * TINY_RATE, 0.5)
    found = list(embed_stream(model, io.BytesIO(wav(raw(x), size=size)), hop=1.0))
    np.testing.assert_allclose(stack(found), [[0.5, 0.25, 0.5]] * 2, atol=1e-4)
    messages = [str(each.message) for each in recwarn.list]
    note = "an open file: its header was never finished; all 2.00 s after it are read"
    assert messages == ([note] if size == 0 else [])


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_what_ffmpeg_writes_to_a_pipe(codec: str, model: Model) -> None:
    (found,) = embed_stream(model, io.BytesIO(pipe_av(np.full(TINY_RATE, 0.5), TINY_RATE, "wav", codec)))
    np.testing.assert_allclose(found.embedding, [0.5, 0.25, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("codec", "width", "samples"),
    [
        (1, 1, np.full(TINY_RATE, 192, np.uint8).tobytes()),
        (1, 2, raw(np.full(TINY_RATE, 0.5))),
        (1, 3, raw(np.full(TINY_RATE, 0.5), "s24le")),
        (1, 4, raw(np.full(TINY_RATE, 0.5), "s32le")),
        (3, 4, np.full(TINY_RATE, 0.5, "<f4").tobytes()),
        (3, 8, np.full(TINY_RATE, 0.5, "<f8").tobytes()),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_every_codec_of_wav(codec: int, width: int, samples: bytes, extensible: bool, model: Model) -> None:
    data = wav(samples, codec=codec, width=width, extensible=extensible)
    (found,) = embed_stream(model, io.BytesIO(data))
    np.testing.assert_allclose(found.embedding, [0.5, 0.25, 0.5], atol=1e-4)


def test_other_chunks_are_passed_over_and_what_follows_is_no_sound(model: Model) -> None:
    x = np.full(TINY_RATE, 0.5)
    extra = b"LIST" + struct.pack("<I", 70001) + b"!" * 70002 + b"fact" + struct.pack("<I", 4) + b"\0" * 4
    data = wav(raw(x), extra=extra) + b"LIST" + struct.pack("<I", 1000) + b"\x7f" * 1000
    (found,) = embed_stream(model, Chunks(cut_up(data)))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.embedding, [0.5, 0.25, 0.5], atol=1e-4)


def test_rf64_reports_its_length_in_a_chunk_of_its_own(model: Model) -> None:
    x = raw(np.full(TINY_RATE, 0.5))
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(x), TINY_RATE, 0)
    data = wav(x, size=0xFFFFFFFF).replace(b"RIFF", b"RF64").replace(b"WAVEfmt ", b"WAVE" + ds64 + b"fmt ")
    (found,) = embed_stream(model, io.BytesIO(data + b"LIST" + struct.pack("<I", 99) + b"\x7f" * 99))
    np.testing.assert_allclose(found.embedding, [0.5, 0.25, 0.5], atol=1e-4)


def test_a_broken_end_is_left_out_with_a_warning(model: Model) -> None:
    x = raw(np.full(TINY_RATE, 0.5))
    with pytest.warns(UserWarning, match="last 1 bytes are an incomplete sample"):
        (found,) = embed_stream(model, io.BytesIO(x + b"\x7f"), TINY_RATE)
    np.testing.assert_allclose(found.embedding, [0.5, 0.25, 0.5], atol=1e-4)
    with pytest.warns(UserWarning, match="ends 1000 bytes before the length in its header"):
        list(embed_stream(model, io.BytesIO(wav(x, size=len(x) + 1000))))
    with pytest.warns(UserWarning, match="2 sounds follow one another in this file; all are read"):
        assert len(list(embed_stream(model, io.BytesIO(wav(x) + wav(x)), hop=1.0))) == 2
    with pytest.warns(UserWarning, match="NaN or infinite samples are taken as 0"):
        spoilt = np.full(TINY_RATE, 0.5, "<f4")
        spoilt[::2] = np.nan
        (found,) = embed_stream(model, io.BytesIO(spoilt.tobytes()), TINY_RATE, "f32le")
    np.testing.assert_allclose(found.embedding, [0.25, 0.125, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no sound"),
        (b"\0" * 1000, "give --rate, --sample-format and --channels"),
        (b"ID3" + b"\0" * 1000, "ffmpeg"),
        (wav(b"")[:30], "a fmt chunk of 10 bytes"),
        (wav(b"")[:38], "breaks off"),
        (wav(b""), "holds no sound"),
        (wav(b"ab" * 100, codec=2), "codec 2"),
        (wav(b"ab" * 100, codec=0x55, extensible=True), "codec 85"),
        (wav(b"ab" * 100, codec=3), "codec 3 with 16 bits"),
        (wav(b"ab" * 100, rate=0), "0 Hz"),
        (wav(b"ab" * 100, channels=0), "0 channels"),
        (wav(b"ab" * 100, channels=65), "65 channels"),
        (wav(b"ab" * 100).replace(b"fmt ", b"junk"), "no fmt chunk"),
        (wav(b"ab" * 100).replace(b"fmt \x10", b"fmt \x04"), "broken"),
        (wav(np.full(TINY_RATE, np.nan, "<f4").tobytes(), codec=3, width=4), "every sample is NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_stream_gets_an_error_message(data: bytes, message: str, model: Model) -> None:
    for source in (io.BytesIO(data), Chunks(cut_up(data))):
        with pytest.raises(SondinoError, match=message):
            list(embed_stream(model, source))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate is 0"),
        ({"rate": 16000, "channels": 0}, "channels is 0"),
        ({"rate": 16000, "sample_format": "mp3"}, "sample format is 'mp3'"),
        ({"rate": 16000, "hop": 0.0}, "hop is 0"),
        ({"rate": 16000, "hop": float("nan")}, "hop is nan"),
        ({"hop": 1e-9}, "at least one sample"),
        ({"rate": 16000}, "begins with a WAV header"),
    ],
)
def test_options_that_are_rejected(options: dict, message: str, model: Model) -> None:
    with pytest.raises(OptionError, match=message):
        list(embed_stream(model, io.BytesIO(wav(b"ab" * 100)), **options))


def test_a_source_that_fails_is_an_error_message(model: Model) -> None:
    class Folder:
        name = "<stdin>"

        def read(self, limit: int) -> bytes:
            raise IsADirectoryError(21, "Is a directory")

    with pytest.raises(AudioError, match="<stdin>: cannot be read"):
        list(embed_stream(model, Folder()))  # type: ignore[arg-type]

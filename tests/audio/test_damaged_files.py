"""Damaged files give samples or a message, in bounded time and memory, whatever bytes they have."""

import io
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.sounds import noise
from sondino import audio
from sondino.audio.decoded import Decoded
from sondino.audio.pipe import Pipe, open_wav
from sondino.audio.signal import mono_blocks
from sondino.errors import SondinoError

RATE = 16000
MOST_SAMPLES = 3 * 10**6  # of a file of 0.1 s whose header may name another rate: 100 Hz at the least
KINDS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("RF64", "PCM_24"), ("W64", "PCM_16"),
    ("AU", "PCM_16"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip
FILES = {}
for form, subtype in KINDS:
    held = io.BytesIO()
    soundfile.write(held, noise(RATE, 0.1), RATE, format=form, subtype=subtype)
    FILES[form, subtype] = held.getvalue()

quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
interesting = st.sampled_from(
    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\1\0\0\0", b"data"]
)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with up to four changes, most of them in its header; or cut; or with something behind it."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.one_of(st.integers(0, 63), st.integers(0, len(data) - 1)))
        value = draw(st.one_of(interesting, st.binary(min_size=1, max_size=4)))
        changed[at : at + len(value)] = value
    cut = draw(st.one_of(st.none(), st.integers(1, len(data))))
    behind = draw(st.one_of(st.just(b""), st.binary(max_size=64), st.just(data)))
    return bytes(changed[:cut]) + behind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind))
@quick
@given(draw=st.data())
def test_a_damaged_file(tmp_path, monkeypatch, kind, draw):
    monkeypatch.setattr("sondino.audio.decoders.has_av", lambda: False)  # FFmpeg's own decoders are not in question
    data = draw.draw(damaged(FILES[kind]))
    (tmp_path / "x").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for source in (tmp_path / "x", io.BytesIO(data)):
            try:
                waveform = audio.read(source, RATE)
                assert audio.info(source).duration >= 0
            except SondinoError as error:
                assert "\n" not in str(error)
                continue
            assert np.isfinite(waveform).all() and 0 < len(waveform) < MOST_SAMPLES


@quick
@given(data=damaged(FILES["WAV", "PCM_16"]))
def test_a_damaged_wav_from_a_pipe(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stream = open_wav(Pipe(io.BytesIO(data)))
            sound = Decoded(stream.rate, stream.channels, None, lambda *_: stream.blocks(1))
            waveform = np.concatenate(list(mono_blocks(sound, "x", 0, None)))
        except SondinoError as error:
            assert "\n" not in str(error)
            return
    assert np.isfinite(waveform).all() and len(waveform) <= len(data)

"""Stretches of files as paths."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from sondino import audio
from sondino.audio.fragment import Stretch, path_of, stretch_of
from sondino.audio.reading import stream
from sondino.audio.walk import search_audio
from sondino.errors import AudioError

RATE = 8000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five seconds of noise."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    return tmp_path / "x.wav"


def test_a_path_names_a_stretch(tmp_path: Path) -> None:
    assert stretch_of("a/b.wav#t=1.5,3") == Stretch("a/b.wav", 1.5, 1.5)
    assert stretch_of("b.wav#t=10") == Stretch("b.wav", 10.0, None)
    for whole in ("b.wav", "b#t.wav", "b.wav#t=", "b.wav#t=3,2", "b.wav#t=-1,2", "b.wav#t=1,2.wav", "#t=1,2"):
        assert stretch_of(whole) == Stretch(whole, 0.0, None)
    (tmp_path / "c.wav#t=1,2").write_bytes(b"")  # a file's own name
    assert stretch_of(str(tmp_path / "c.wav#t=1,2")).duration is None
    assert path_of("a.wav") == "a.wav" and path_of("a.wav", 0.0, 2.5) == "a.wav#t=0,2.5"
    assert (
        path_of("a.wav", 1 / 3, 1 / 3) == "a.wav#t=0.333333,0.666667" and path_of("a.wav", 7200.5) == "a.wav#t=7200.5"
    )


@pytest.mark.parametrize("rate", [RATE, 16000])
@pytest.mark.parametrize(
    ("times", "first", "last"), [("1.25,3.5", 1.25, 3.5), ("4", 4, 5), ("0,0.5", 0, 0.5), ("4,99", 4, 5)]
)
def test_it_is_that_slice_of_the_file(file: Path, rate: int, times: str, first: float, last: float) -> None:
    whole = audio.read(file, rate)
    expected = whole[round(first * rate) : round(last * rate)]
    part = f"{file}#t={times}"
    np.testing.assert_allclose(audio.read(part, rate), expected, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(stream(part, rate, 0.3))), expected, atol=1e-6)
    assert audio.info(part).duration == pytest.approx(last - first)
    np.testing.assert_allclose(audio.read(part, rate, 0.25, 0.125), expected[rate // 4 :][: rate // 8], atol=1e-6)


def test_past_the_end_is_an_error(file: Path) -> None:
    for times in ("5,6", "7"):
        with pytest.raises(AudioError, match="past the end of the sound"):
            audio.read(f"{file}#t={times}", RATE)
    with pytest.raises(AudioError, match="past the end of the sound"):
        audio.read(f"{file}#t=1,2", RATE, 1.5)


def test_stretches_are_embedded_like_files(file: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    model = sondino.load(tiny_bundle)
    parts = [f"{file}#t=0,1", f"{file}#t=3.5"]
    assert [str(path) for path in search_audio(parts[0]).files] == parts[:1]
    report = sondino.embed_files([*parts, file], model, tmp_path / "o.npz")
    assert report.files == 3 and report.seconds == pytest.approx(1 + 1.5 + 5)
    with np.load(tmp_path / "o.npz") as table:
        assert table["ids"].tolist() == [*parts, str(file)]
        waves = [audio.read(part, model.sample_rate) for part in parts]
        np.testing.assert_allclose(
            table["vectors"][:2], model.embed([(w, model.sample_rate) for w in waves]), atol=1e-6
        )
    with pytest.raises(AudioError, match="no such file"):
        search_audio(f"{tmp_path}/gone.wav#t=1,2")


def test_a_stretch_past_the_end_of_its_file_is_read_as_far_as_it_goes_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, np.full(3 * 16000, 0.5), 16000)
    with pytest.warns(UserWarning, match=r"a\.wav#t=1,9: the file ends 6\.00 s before the end of this stretch"):
        assert len(audio.read(f"{file}#t=1,9", 16000)) == 2 * 16000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(audio.read(f"{file}#t=1,3", 16000)) == 2 * 16000
        assert len(audio.read(f"{file}#t=1,3.04", 16000)) == 2 * 16000  # a list that rounds
        assert len(audio.read(f"{file}#t=1", 16000)) == 2 * 16000
        assert len(audio.read(file, 16000, start=1, duration=8)) == 2 * 16000  # as `read` documents


def test_a_stretch_whose_end_is_not_after_its_start_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, np.full(3 * 16000, 0.5), 16000)
    for read in (audio.find_audio, lambda path: audio.read(path, 16000)):
        for stretch in ("2,1", "2,2"):
            with pytest.raises(
                AudioError, match=rf"a\.wav#t={stretch}: the end of the stretch, . s, must be after its start"
            ):
                read(f"{file}#t={stretch}")
    with pytest.raises(AudioError, match="no such file"):
        audio.read(f"{file}.flac#t=1,2", 16000)
    file.rename(tmp_path / "b.wav#t=2,1")  # a file of that name is one
    assert len(audio.read(tmp_path / "b.wav#t=2,1", 16000)) == 3 * 16000

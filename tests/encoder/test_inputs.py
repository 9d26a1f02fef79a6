"""Every form in which sound is given has the embedding of the same (array, rate), and what is no sound a message."""

import array
import io
import pathlib
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.tiny_bundle import TINY_RATE, tiny_vectors, write_tiny_bundle
from sondino.audio.decoded import FilePart
from sondino.encoder.head import Head
from sondino.encoder.inputs import list_sounds
from sondino.errors import AudioError, OptionError
from sondino.model.model import Model

RATE = 22050  # not the model's, so that a rate that is lost shows
LOUD = Head("loud", ("quiet", "loud"), False, ((np.array([[0, 0, -8], [0, 0, 8]]), np.array([4.0, -4.0])),))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(write_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny"), threads=1).with_head(LOUD)


def noise(seed: int, samples: int = 30000) -> np.ndarray:
    """Sound that 16 bits hold exactly, of a mean that is not 0."""
    x = np.random.default_rng(seed).uniform(-0.2, 0.5, samples)
    return (np.round(x * 2**15) / 2**15).astype(np.float32)


X, Y = noise(1), noise(2, 20000)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "x.wav", X, RATE, subtype="PCM_16")
    return tmp_path / "x.wav"


class Decoder:
    """As torchcodec's AudioDecoder: data (channels, samples) and sample_rate."""

    def __init__(self, data: object, rate: int = RATE) -> None:
        self.samples = types.SimpleNamespace(data=data, sample_rate=rate, pts_seconds=0.0)

    def get_all_samples(self) -> types.SimpleNamespace:
        return self.samples


# ---- one sound --------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Path], object]] = {
    "path": lambda wav: wav,
    "text": str,
    "pure path": pathlib.PurePath,
    "open file": lambda wav: wav.open("rb"),
    "bytes in memory": lambda wav: io.BytesIO(wav.read_bytes()),
    "unbuffered file": lambda wav: wav.open("rb", buffering=0),
    "samples as a list": lambda wav: (X.tolist(), RATE),
    "array of python": lambda wav: (array.array("f", X.tolist()), RATE),
    "rate of NumPy": lambda wav: (X, np.array(RATE)),
    "int16": lambda wav: ((X * 2**15).astype(np.int16), RATE),
    "int32": lambda wav: ((X * 2**31).astype(np.int32), RATE),
    "float64": lambda wav: (X.astype(np.float64), RATE),
    "channels first": lambda wav: (np.stack([X, X]), RATE),
    "channels last": lambda wav: (np.stack([X, X], axis=1), RATE),
    "one channel": lambda wav: (X[None], RATE),
    "decoded row": lambda wav: {"path": "gone.wav", "array": X, "sampling_rate": RATE},
    "decoded row as lists": lambda wav: {"array": X.tolist(), "sampling_rate": RATE},
    "decoded row of two channels as lists": lambda wav: {"array": [X.tolist()] * 2, "sampling_rate": RATE},
    "row with a path": lambda wav: {"path": str(wav), "bytes": None},
    "row with bytes": lambda wav: {"path": "gone.wav", "bytes": wav.read_bytes()},
    "decoder": lambda wav: Decoder(np.stack([X, X])),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_embedding_of_the_array(model: Model, wav: Path, form: str) -> None:
    expected = model.embed((X, RATE))
    given = FORMS[form](wav)
    assert model.embed(given) == pytest.approx(expected, abs=1e-6)
    assert model.embed([given]) == pytest.approx(expected, abs=1e-6)  # an open file is read from its beginning again
    assert model.classify(given) == pytest.approx(model.classify((X, RATE)), abs=1e-5)
    embeddings, starts = model.embed_windows(given)
    assert embeddings == pytest.approx(model.embed_windows((X, RATE))[0], abs=1e-6) and starts.tolist() == [0, 1]


def test_the_expected_embedding_is_that_of_the_samples(model: Model) -> None:
    x = X[:TINY_RATE]
    assert model.embed(x, TINY_RATE) == pytest.approx(tiny_vectors(x[None]), abs=1e-6)


def test_samples_and_rate_are_two_arguments_too(model: Model) -> None:
    expected = model.embed((X, RATE))
    assert np.array_equal(model.embed(X, RATE), expected)
    assert np.array_equal(model.embed(X.tolist(), rate=RATE), expected)
    assert np.array_equal(model.embed(np.stack([X, X]), RATE), expected)
    assert np.array_equal(model.classify(X, RATE), model.classify((X, RATE)))
    assert np.array_equal(model.embed_windows(X, RATE)[0], model.embed_windows((X, RATE))[0])
    assert np.array_equal(model.embed([X, Y], RATE), model.embed([(X, RATE), (Y, RATE)]))
    assert np.array_equal(model.embed((x for x in (X, Y)), RATE), model.embed([(X, RATE), (Y, RATE)]))


# ---- several ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])  # from three on, threads decode ahead
def test_lists_of_mixed_forms_keep_their_order(model: Model, wav: Path, threads: int) -> None:
    model = Model(model.folder, threads)
    given = [make(wav) for make in FORMS.values()]
    mixed = [(Y, RATE), *given, {"array": Y, "sampling_rate": RATE}]
    expected = model.embed([(Y, RATE), (X, RATE)])
    found = model.embed(mixed)
    assert found == pytest.approx(expected[[0, *[1] * len(given), 0]], abs=1e-6)


def test_paths_in_an_array_a_generator_and_a_series(model: Model, wav: Path) -> None:
    expected = model.embed([wav, wav])
    assert np.array_equal(model.embed(np.array([str(wav)] * 2)), expected)
    assert np.array_equal(model.embed(np.array([wav] * 2)), expected)
    assert np.array_equal(model.embed(path for path in [wav, wav]), expected)
    assert np.array_equal(model.embed([wav for _ in range(2)]), expected)
    assert np.array_equal(model.embed(({"path": wav}, {"path": wav})), expected)  # a tuple, but no (array, rate)


def test_series_and_columns_of_other_packages(model: Model, wav: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="the dev extra is not installed")
    pyarrow = pytest.importorskip("pyarrow", reason="the tables extra is not installed")
    expected = model.embed([wav, wav])
    assert np.array_equal(model.embed(pandas.Series([str(wav)] * 2, index=[7, 9])), expected)
    assert np.array_equal(model.embed(pyarrow.array([str(wav)] * 2)), expected)
    assert np.array_equal(model.embed((pandas.Series(X), RATE)), model.embed((X, RATE)))
    with pytest.raises(OptionError, match=r"this is a table \(DataFrame\): give the column that holds the sounds"):
        model.embed(pandas.DataFrame({"path": [str(wav)]}))


def test_temporary_files_and_files_that_cannot_be_sought(model: Model, wav: Path) -> None:
    expected = model.embed(wav)
    with tempfile.NamedTemporaryFile() as named, tempfile.SpooledTemporaryFile() as spooled:
        for file in (named, spooled):
            file.write(wav.read_bytes())
            file.flush()
            assert np.array_equal(model.embed(file), expected)
    pipe = io.BytesIO(wav.read_bytes())
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    assert np.array_equal(model.embed(pipe), expected)


# ---- tensors ----------------------------------------------------------------------------------------------------


def test_tensors_are_arrays(model: Model) -> None:
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    x = torch.from_numpy(X)
    expected = model.embed((X, RATE))
    for given in (x, x.double(), x.clone().requires_grad_(), torch.stack([x, x]), (x * 2**15).to(torch.int16)):
        assert model.embed(given, RATE) == pytest.approx(expected, abs=1e-6)
        assert model.embed((given, torch.tensor(RATE))) == pytest.approx(expected, abs=1e-6)
        assert model.embed({"array": given, "sampling_rate": torch.tensor(RATE)}) == pytest.approx(expected, abs=1e-6)
        assert model.embed(Decoder(given)) == pytest.approx(expected, abs=1e-6)
    for kind, digits in ((torch.float16, 11), (torch.bfloat16, 8)):
        rounded = x.to(kind).float().numpy()
        assert np.abs(rounded - X).max() <= 2.0**-digits
        assert np.array_equal(model.embed(x.to(kind), RATE), model.embed((rounded, RATE)))
    assert np.array_equal(model.embed([x, x], RATE), model.embed([(X, RATE)] * 2))
    waveforms = x[:20000].reshape(2, 10000)
    assert np.array_equal(model.embed(waveforms), model.embed(waveforms.numpy()))
    assert np.array_equal(model.embed(waveforms.bfloat16()), model.embed(waveforms.bfloat16().float().numpy()))
    with pytest.raises(OptionError, match=r"a Tensor cannot be made a NumPy array \(.*\): make it one"):
        model.embed(torch.empty(10, device="meta"), RATE)
    with pytest.raises(OptionError, match=r"an array of shape \(30000,\) came without its rate"):
        model.embed(x)


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((RATE, X), r"a rate came before its array: give \(array, rate\)"),
        ((X, Y), r"an array came with a ndarray in the place of its rate: give \(array, rate\)"),
        ([(X, RATE), (X, [RATE])], "sound 1 of the list: an array came with a list in the place of its rate"),
        (([X, Y], RATE), r"a list with one rate may be sounds or the channels of one: give a list of \(array, rate\)"),
        ((np.zeros((9, 400)), RATE), r"shape \(9, 400\) with one rate would be one sound of 9 channels: give a list"),
        ((np.zeros((8, 8)), RATE), r"shape \(8, 8\) has two sides that may be its channels: give their mean"),
        ([X, (X, RATE)], r"sound 0 of the list is a ndarray: give a path or an \(array, rate\)"),
        (np.zeros((400, 2), np.float32), r"would be 400 clips of 2 samples: give \(array, rate\) if it is one sound"),
        (X.tolist(), "sound 0 of the list is a float"),
        (b"RIFF", r"bytes are no sound by themselves: give io.BytesIO\(...\) of a file's content"),
        ({"array": X}, "a dict with an array has no sampling_rate: give it in hertz"),
        ({"array": ["a"], "sampling_rate": RATE}, "what came with a rate is no array of samples"),
        ({"array": [[0.1], [0.1, 0.2]], "sampling_rate": RATE}, r"a list cannot be made a NumPy array \(.*\): make it"),
        ({"bytes": "RIFF"}, "bytes of a dict is a str: give the content of a file"),
        ({"path": None, "bytes": None}, "a dict with the keys 'path', 'bytes' is no sound: give 'array' and"),
        ({}, "a dict with the keys none is no sound"),
        ([{"audio": {"array": X, "sampling_rate": RATE}, "label": 1}], r"sound 0 of the list: .* give its sound, row"),
        ({"a.wav", "b.wav"}, r"this is no sound \(set\): give a path"),
        (io.StringIO("a"), "a file is open as text: open it with 'rb'"),
        (np.array("a.wav"), r"this is no sound \(ndarray\)"),
    ],
)  # fmt: skip
def test_what_is_no_sound_has_a_message(model: Model, given: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        model.embed(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.wav", r"a rate of 22050 was given, and this is no array \(str\): leave rate out"),
        (io.BytesIO(b"RIFF"), r"this is no array \(BytesIO\): leave rate out"),
        ({"array": X, "sampling_rate": RATE}, r"this is no array \(dict\): leave rate out"),
        ((X, RATE), r"the \(array, rate\) has one: leave one of them out"),
        ([X, "a.wav"], r"sound 1 of the list is no array \(str\): leave rate out"),
        (np.zeros((9, 400)), r"would be one sound of 9 channels: give a list of \(array, rate\)"),
        (None, r"this is no array \(NoneType\)"),
    ],
)
def test_a_rate_goes_with_arrays_alone(model: Model, given: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        model.embed(given, RATE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X, "44100"), "an array came with the rate '44100': give its sample rate in hertz"),
        ((X, None), "an array came with the rate None"),
        ((X, float("inf")), "an array came with the rate inf"),
        (((X * 2**15).astype(np.int64), RATE), "an array of int64 has no full scale that is known: give int16, int32"),
        ((np.zeros(10, np.uint16), RATE), "an array of uint16 is not a sound"),
        ((np.zeros((2, 2, 200)), RATE), r"shape \(2, 2, 200\) is not one sound"),
        ("a" * 300 + ".wav", r"a\.wav: cannot be read \(File name too long\)"),
        (io.BytesIO(b"text" * 100), "an open file: not a sound"),
        ([{"bytes": b"text" * 100, "path": "a.wav"}], "a.wav: not a sound"),
        (Decoder(None), "what came with a rate is no array"),
        (types.SimpleNamespace(get_all_samples=lambda: 1 / 0), r"not a sound that can be decoded \(division by zero\)"),
    ],
)
def test_samples_that_are_no_sound_have_a_message(model: Model, given: object, message: str) -> None:
    with pytest.raises((AudioError, OptionError), match=message):
        model.embed(given)


def test_a_closed_file_and_one_given_twice(model: Model, wav: Path) -> None:
    file = io.BytesIO(wav.read_bytes())
    with pytest.raises(OptionError, match="sounds 0 and 2 of the list are the same open file: open it for each"):
        model.embed([file, wav, file])
    file.close()
    with pytest.raises(AudioError, match=r"an open file: not a file open for reading in binary \(I/O operation"):
        model.embed(file)
    with wav.open() as text, pytest.raises(OptionError, match=r"x\.wav is open as text: open it with 'rb'"):
        model.embed(text)


def test_a_sound_of_a_list_that_fails_is_named(model: Model) -> None:
    with pytest.raises(AudioError, match=r"^sound 1 of the list: an array of shape \(0,\) holds no sound$"):
        model.embed([(X, RATE), (X[:0], RATE)])
    with pytest.raises(
        AudioError, match=r"^sound 1 of the list: not a sound that can be decoded \(division by zero\)$"
    ):
        model.embed([(X, RATE), types.SimpleNamespace(get_all_samples=lambda: 1 / 0)])


def test_integers_of_64_bits_are_scaled_on_request(model: Model) -> None:
    whole = np.round(X * 2**15).astype(np.int64)
    assert np.array_equal(model.embed((whole, RATE), scale="auto"), model.embed((X, RATE)))
    assert model.embed((whole * 2**16, RATE), scale="auto") == pytest.approx(model.embed((X, RATE)), abs=1e-6)


def test_a_part_of_a_file_is_a_sound():
    part = FilePart("dawn.wav", "/somewhere/else.tar", 512, 100)
    assert list_sounds(part) == [part] and list_sounds([part, "x.wav"]) == [part, "x.wav"]

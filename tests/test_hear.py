"""The HEAR 2021 API: what its validator asks of a package, and embeddings that can be computed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.skips import NO_CUDA
from helpers.sounds import noise
from helpers.tiny_bundle import TINY_RATE, tiny_vectors
from sondino import hear
from sondino.encoder.check import check_encoder
from sondino.errors import OptionError
from sondino.teachers import load_teacher

Make = Callable[..., Path]


@pytest.fixture(params=[16000, 32000, 48000, 8000])
def model(request: pytest.FixtureRequest, make_tiny_bundle: Make) -> hear.HEARModel:
    return hear.load_model(str(make_tiny_bundle(sample_rate=request.param)))


def sounds(model: hear.HEARModel, count: int, seconds: float) -> torch.Tensor:
    return torch.from_numpy(noise(model.sample_rate, seconds, count).T.copy())


def test_what_hearvalidator_asks_of_the_model(model: hear.HEARModel) -> None:
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in (16000, 22050, 44100, 48000)
    assert type(model.scene_embedding_size) is int and type(model.timestamp_embedding_size) is int
    assert model.to("cpu") is model


def test_what_hearvalidator_asks_of_timestamps(model: hear.HEARModel) -> None:
    embeddings, timestamps = hear.get_timestamp_embeddings(sounds(model, 16, 2.0), model)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (16, timestamps.shape[1], model.timestamp_embedding_size)
    assert timestamps.shape[0] == 16
    apart = torch.diff(timestamps)
    assert float(apart.float().mean()) <= 50
    assert bool((apart - apart.float().mean()).abs().max() < 1e-3)


def test_what_hearvalidator_asks_of_scenes(model: hear.HEARModel) -> None:
    embeddings = hear.get_scene_embeddings(sounds(model, 8, 3.74), model)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (8, model.scene_embedding_size)


def test_the_rate_is_the_models_own_where_the_api_knows_it(make_tiny_bundle: Make) -> None:
    rates = {
        rate: hear.load_model(str(make_tiny_bundle(sample_rate=rate))).sample_rate for rate in (16000, 32000, 44100)
    }
    assert rates == {16000: 16000, 32000: 48000, 44100: 44100}


def test_a_scene_is_what_embed_gives(model: hear.HEARModel) -> None:
    audio = sounds(model, 3, 2.4)
    embeddings = hear.get_scene_embeddings(audio, model).numpy()
    np.testing.assert_allclose(
        embeddings, model.encoder.embed([(x, model.sample_rate) for x in audio.numpy()]), atol=1e-6
    )
    assert (embeddings[:, 1] > 1e-3).all()


def test_a_timestamp_is_the_middle_of_its_frame(tiny_bundle: Path) -> None:
    """A click in silence: its square is in the frames whose middle is within half a frame of it."""
    model = hear.load_model(str(tiny_bundle))
    half = model.frame / 2 / TINY_RATE * 1000
    audio = torch.zeros(1, 3 * TINY_RATE)
    audio[0, 1510 * TINY_RATE // 1000] = 1.0
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert timestamps[0].tolist() == list(range(0, 3001, 50))
    within = timestamps[0][embeddings[0, :, 2] > 0]
    assert within.tolist() == [at for at in range(0, 3001, 50) if 1510 - half < at < 1510 + half]


def test_past_the_ends_a_frame_is_of_the_mirrored_sound(tiny_bundle: Path) -> None:
    model = hear.load_model(str(tiny_bundle))
    x = noise(TINY_RATE, 1.0)[:, 0]
    embeddings, _ = hear.get_timestamp_embeddings(torch.from_numpy(x)[None], model)
    half = model.frame // 2
    first, last = np.concatenate([x[:half][::-1], x[:half]]), np.concatenate([x[-half:], x[-half:][::-1]])
    np.testing.assert_allclose(embeddings[0, [0, -1]].numpy(), tiny_vectors(np.stack([first, last])), atol=1e-6)


def test_frames_of_all_sounds_go_through_in_bounded_batches(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hear.load_model(str(tiny_bundle))
    shapes = []
    own = model.encoder.embed
    monkeypatch.setattr(model.encoder, "embed", lambda x: (shapes.append(x.shape), own(x))[1])
    audio = sounds(model, 2, 10.0)
    embeddings, _ = hear.get_timestamp_embeddings(audio, model)
    assert {shape[1] for shape in shapes} == {model.frame} and max(shape[0] for shape in shapes) <= 16
    assert sum(shape[0] for shape in shapes) == 2 * 201
    alone, _ = hear.get_timestamp_embeddings(audio[1:], model)
    assert torch.equal(alone[0], embeddings[1])


@pytest.mark.parametrize("samples", [1, 10, 799, 800, 801, TINY_RATE // 2])
def test_sounds_shorter_than_a_frame(samples: int, model: hear.HEARModel) -> None:
    embeddings, timestamps = hear.get_timestamp_embeddings(torch.full((2, samples), 0.5), model)
    count = samples * 20 // model.sample_rate + 1
    assert timestamps.tolist() == [[50.0 * at for at in range(count)]] * 2
    assert torch.isfinite(embeddings).all() and (embeddings[:, :, 2] > 0).all()
    assert hear.get_scene_embeddings(torch.full((2, samples), 0.5), model).shape == (2, 3)


def test_a_frame_is_no_longer_than_the_window_and_no_shorter_than_the_net_takes(make_tiny_bundle: Make) -> None:
    assert hear.load_model(str(make_tiny_bundle(window=None))).frame == TINY_RATE // 2
    assert hear.load_model(str(make_tiny_bundle(window=0.25))).frame == TINY_RATE // 4
    assert hear.load_model(str(make_tiny_bundle(window=2.0, minimum=2 * TINY_RATE))).frame == 2 * TINY_RATE


def test_tensors_of_other_kinds(model: hear.HEARModel) -> None:
    audio = sounds(model, 2, 1.0)
    exact = hear.get_scene_embeddings(audio, model)
    for other in (audio.double(), audio.clone().requires_grad_()):
        assert torch.allclose(hear.get_scene_embeddings(other, model), exact, atol=1e-6)
    assert hear.get_scene_embeddings(audio[:0], model).shape == (0, 3)
    assert hear.get_timestamp_embeddings(audio[:0], model)[0].shape == (0, 21, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
def test_answers_are_where_the_sound_is(model: hear.HEARModel) -> None:
    audio = sounds(model, 2, 1.0).cuda()
    answers = [hear.get_scene_embeddings(audio, model.to("cuda")), *hear.get_timestamp_embeddings(audio, model)]
    assert all(answer.device == audio.device for answer in answers)


@pytest.mark.parametrize("audio", [torch.zeros(100), torch.zeros(2, 0), torch.zeros(1, 2, 3), np.zeros((2, 100))])
def test_what_is_no_batch_of_sounds_gets_an_error_message(audio: object, tiny_bundle: Path) -> None:
    model = hear.load_model(str(tiny_bundle))
    for function in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(OptionError, match="give a tensor"):
            function(audio, model)  # type: ignore[operator]
    with pytest.raises(OptionError, match="load_model"):
        hear.get_scene_embeddings(torch.zeros(1, 100), torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_without_a_path_the_environment_names_the_model(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONDINO_HEAR_MODEL", str(tiny_bundle))
    assert hear.load_model().encoder.name == "tiny"
    asked: list[str] = []
    monkeypatch.setattr(hear, "load", asked.append)
    monkeypatch.delenv("SONDINO_HEAR_MODEL")
    with pytest.raises(AttributeError):  # nothing was loaded
        hear.load_model()
    assert asked == ["ssondo/matpac-mobilenetv3"]


@pytest.mark.filterwarnings("ignore:an array")  # check_encoder tries a NaN
def test_our_own_teacher_of_hear_packages_takes_it(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONDINO_HEAR_MODEL", str(tiny_bundle))
    teacher = load_teacher("hear:sondino.hear", "cpu")
    assert (teacher.sample_rate, teacher.dim) == (TINY_RATE, 3)
    assert check_encoder(teacher) == []
    x = noise(TINY_RATE, 1.0, 2).T.copy()
    np.testing.assert_allclose(teacher.embed(x), tiny_vectors(x), atol=1e-6)

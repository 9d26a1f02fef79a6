"""What a model takes is shown when it is opened: waveforms are embedded as by hand, all else is refused."""

from pathlib import Path

import numpy as np
import pytest

from helpers.graph_files import onnx_file, tflite_file
from sondino.encoder.check import check_encoder
from sondino.errors import EncoderError, OptionError, SondinoError
from sondino.teachers import load_teacher
from sondino.teachers.takes_sound import check_takes_sound, fading_sweep

RATE = 1000
WEIGHT = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
SIX_LINES = "import onnxruntime\nsession = .*\ndef make\\(\\):\n    def embed.*\n        return .*\n    return embed$"


def sound(rows: int, samples: int = 64) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((rows, samples))).astype(np.float32)


def frames_onnx(path: Path, shape: list, dtype: str = "float32", order: tuple = (0, 1, 2)) -> Path:
    """A waveform in frames of 16, each times WEIGHT: "frames" (batch, n, 4), or in another order of its sides."""
    nodes = [
        ("Cast", ["x"], ["float"], {"to": 1}),
        ("Reshape", ["float", "form"], ["framed"], {}),
        ("MatMul", ["framed", "w"], ["made"], {}),
        ("Transpose", ["made"], ["frames"], {"perm": list(order)}),
    ]
    weights = {"form": np.array([0 if len(shape) > 1 else 1, -1, 16]), "w": WEIGHT}
    return onnx_file(path, {"x": (dtype, shape)}, nodes, {"frames": None}, weights)


def expected(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1, 16) @ WEIGHT


# ---- refused --------------------------------------------------------------------------------------------------


def dense_onnx(path: Path, inputs: dict, weight: np.ndarray) -> Path:
    """The first input times a weight, then the mean of all sides between the batch and the last."""
    (name, (_, shape)) = next(iter(inputs.items()))
    nodes = [("MatMul", [name, "w"], ["y"], {})]
    if len(shape) > 2:
        nodes.append(("ReduceMean", ["y"], ["vector"], {"axes": list(range(1, len(shape) - 1)), "keepdims": 0}))
    else:
        nodes.append(("Identity", ["y"], ["vector"], {}))
    return onnx_file(path, inputs, nodes, {"vector": None}, {"w": weight})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (["B", "T", 80], r"float32 \(B, T, 80\), not a waveform: x looks like a spectrogram of 80 bands"),
        (["B", 98, 64], "looks like a spectrogram of 64 bands"),
        ([1, 1, "T", 40], "looks like a spectrogram of 40 bands"),
        ([96, 64], r"holds 64 numbers, 0.004 s at 16000 Hz: a waveform has at least 400 \(0.025 s\)"),
        (["B", 3], "holds 3 numbers"),
        (["B", 257], "holds 257 numbers"),
        ([1, 1, 384], "holds 384 numbers"),
        (["B", 43844, 1], "the same for a sweep as for silence"),
        (["B", "T", 1], "the same for a sweep as for silence"),
        (["B", "T", "F"], "fails on waveforms of"),
        (["B", "N"], "fails on waveforms of"),
        ([1, 1, 1, 1, "N"], "has 5 sides"),
    ],
    ids=str,
)
def test_onnx_inputs_that_are_no_waveforms_are_refused(tmp_path, shape, message):
    last = shape[-1] if isinstance(shape[-1], int) else 80
    path = dense_onnx(tmp_path / "x.onnx", {"x": ("float32", shape)}, np.ones((last, 4), np.float32))
    with pytest.raises(EncoderError, match=message) as caught:
        load_teacher(f"onnx:{path}?rate=16000")
    assert caught.match(f"(?s){SIX_LINES}")


def test_a_list_of_numbers_is_no_waveform_at_any_rate(tmp_path):
    path = dense_onnx(tmp_path / "x.onnx", {"x": ("float32", ["B", 3])}, np.ones((3, 4), np.float32))
    with pytest.raises(EncoderError, match=r"holds 3 numbers, 0.03 s at 100 Hz: a waveform has at least 16"):
        load_teacher(f"onnx:{path}?rate=100")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([1, 3], "holds 3 numbers"),
        ([-1, 3], r"takes x float32 \(\?, 3\), not a waveform: x holds 3 numbers"),
        ([1, 98, 64], "looks like a spectrogram of 64 bands"),
        ([1, 96, 64, 1], "looks like a spectrogram of 64 bands"),
        ([-1, -1, 80], "looks like a spectrogram of 80 bands"),
    ],
    ids=str,
)
def test_litert_inputs_that_are_no_waveforms_are_refused(tmp_path, shape, message):
    fixed = [abs(n) for n in shape]
    tensors = {"x": ("float32", shape), "flat": ("float32", [1, int(np.prod(fixed))])}
    reshape = ("RESHAPE", ["x"], ["flat"], "ReshapeOptions", {"newShape": tensors["flat"][1]})
    path = tflite_file(tmp_path / "x.tflite", tensors, [reshape], ["x"], ["flat"])
    with pytest.raises(EncoderError, match=message) as caught:
        load_teacher(f"litert:{path}?rate=16000")
    assert caught.match(f"(?s){SIX_LINES}")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_of_log_mels_and_of_sets_of_numbers_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="the train extra is not installed")

    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=1, keepdim=True)

    torch.jit.script(torch.nn.Linear(80, 4)).save(str(tmp_path / "mels.ts"))
    torch.jit.script(Mean()).save(str(tmp_path / "set.ts"))
    for name, message in {
        "mels.ts": "fails on a waveform of 16000 samples",
        "set.ts": "for a sweep as for silence",
    }.items():
        with pytest.raises(EncoderError, match=message) as caught:
            load_teacher(f"torchscript:{tmp_path / name}?rate=16000", device="cpu")
        assert caught.match(f"(?s){SIX_LINES}")


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (lambda x: np.ones((len(x), 3)), "does not depend on the sound"),
        (lambda x: x[:, :3], "with clicks behind the first quarter as without"),
        (lambda x: x.mean(axis=1, keepdims=True), "for a sweep as for silence"),
        (lambda x: x[:, ::2], "gives 500 values for 1000 samples and 625 for 1250"),
        (lambda x: 1 / 0, "fails on 1000 samples: division by zero"),
    ],
)
def test_answers_that_are_not_those_of_a_model_of_sound(embed, message):
    with pytest.raises(EncoderError, match=f"(?s)m.onnx .*{message}.*{SIX_LINES}"):
        check_takes_sound(embed, 1000, 1250, "m.onnx")


def test_answers_of_models_of_sound_pass():
    def spectrum(x):  # does not change when a sound is turned round, nor with its phase
        return np.abs(np.fft.rfft(x, axis=1))[:, :33]

    def last_frame(x):
        return x[:, -16:]

    def nan_for_silence(x):
        with np.errstate(divide="ignore", invalid="ignore"):
            return x[:, -20:] / np.abs(x).max(axis=1, keepdims=True)

    for embed, dim in ((spectrum, 33), (last_frame, 16), (nan_for_silence, 20)):
        assert check_takes_sound(embed, 1000, None, "m.onnx") == dim
    assert len(np.unique(fading_sweep(1000))) > 900


def test_levels_in_any_order_are_taken_with_a_warning(caplog):
    assert check_takes_sound(lambda x: x.std(axis=1, keepdims=True), 1000, 2000, "m.onnx") == 1
    assert [r.getMessage() for r in caplog.records] == [
        "m.onnx gives the same for the samples in any other order, as a level does: make sure that it takes a waveform"
    ]
    caplog.clear()
    assert check_takes_sound(lambda x: x[:, -16:], 1000, None, "m.onnx") == 16
    assert not caplog.records


# ---- options --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_a_sequence_is_pooled_as_its_name_says(tmp_path, pool):
    path = frames_onnx(tmp_path / "x.onnx", ["batch", 64])
    x = sound(3)
    pooled = {"mean": expected(x).mean(1), "max": expected(x).max(1), "last": expected(x)[:, -1]}[pool]
    teacher = load_teacher(f"onnx:{path}?rate={RATE}&pool={pool}")
    np.testing.assert_allclose(teacher.embed(x), pooled, rtol=1e-5, atol=1e-6)
    assert check_encoder(teacher) == [] and teacher.dim == 4
    with pytest.raises(EncoderError, match=r"\(1, 4, 4\) for 1 waveform, .* add pool=mean, pool=max or pool=last"):
        load_teacher(f"onnx:{path}?rate={RATE}")
    others = {"mean", "max", "last"} - {pool}
    assert teacher.fingerprint not in {load_teacher(f"onnx:{path}?rate={RATE}&pool={p}").fingerprint for p in others}


def test_frames_that_lie_behind_the_dimension_are_found_by_their_free_side(tmp_path):
    path = frames_onnx(tmp_path / "x.onnx", ["batch", "samples"], order=(0, 2, 1))
    x = sound(3)
    for options in ("rate=1600&minimum=16", f"rate={RATE}&window=0.064"):
        teacher = load_teacher(f"onnx:{path}?pool=max&{options}")
        np.testing.assert_allclose(teacher.embed(x), expected(x).max(1), rtol=1e-5, atol=1e-6)
        assert teacher.dim == 4


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (["batch", 64, 1], ""),
        (["batch", "samples", 1], "&window=0.064"),
        (["batch", 1, "samples"], "&window=0.064"),
        (["batch", "a", "b"], "&window=0.064"),
        (["batch", "a", "b"], "&window=0.064&layout=last"),
        ([1, 1, 64, 1], ""),
    ],
    ids=str,
)
def test_channels_may_lie_before_or_behind_the_samples(tmp_path, shape, options):
    teacher = load_teacher(f"onnx:{frames_onnx(tmp_path / 'x.onnx', shape)}?rate={RATE}&pool=mean{options}")
    x = sound(3)
    np.testing.assert_allclose(teacher.embed(x), expected(x).mean(1), rtol=1e-5, atol=1e-6)
    assert teacher.window == 0.064 and check_encoder(teacher) == []


def test_a_layout_says_which_free_side_is_the_channels(tmp_path):
    nodes = [("ReduceMax", ["x"], ["vector"], {"axes": [2], "keepdims": 0})]  # of channels, if they are last
    path = onnx_file(tmp_path / "x.onnx", {"x": ("float32", ["b", "m", "n"])}, nodes, {"vector": None})
    text = f"onnx:{path}?rate={RATE}&window=0.064&layout="
    np.testing.assert_array_equal(load_teacher(text + "last").embed(sound(2)), sound(2))
    with pytest.raises(EncoderError, match="the length of an embedding must not"):
        load_teacher(text.replace("&window=0.064", "") + "last")
    assert load_teacher(text + "first").dim == 1  # the peak


def test_samples_of_16_bits(tmp_path):
    x = sound(2)
    for dtype, options in (("float32", "&range=int16"), ("int16", "")):
        path = frames_onnx(tmp_path / "x.onnx", ["batch", 64], dtype)
        teacher = load_teacher(f"onnx:{path}?rate={RATE}&pool=mean{options}")
        whole = np.round(x * 32768) if dtype == "int16" else x * 32768
        np.testing.assert_allclose(teacher.embed(x), expected(whole).mean(1), rtol=1e-4, atol=1e-2)
    half = load_teacher(f"onnx:{frames_onnx(tmp_path / 'x.onnx', ['b', 64], 'float16')}?rate={RATE}&pool=mean")
    np.testing.assert_allclose(half.embed(x), expected(x.astype("f2").astype("f")).mean(1), rtol=1e-4, atol=1e-5)


def recurrent_onnx(path: Path) -> Path:
    """(state, x, sr) -> "out" = (mean of the frames, mean of the state) + sr for each row, "stateN" = state + sr."""
    inputs = {"state": ("float32", [2, "batch", 8]), "x": ("float32", ["batch", "n"]), "sr": ("int64", [])}
    nodes = [
        ("Reshape", ["x", "form"], ["framed"], {}),
        ("MatMul", ["framed", "w"], ["made"], {}),
        ("ReduceMean", ["made"], ["mean"], {"axes": [1], "keepdims": 0}),
        ("ReduceMean", ["state"], ["levels"], {"axes": [0, 2], "keepdims": 0}),
        ("Reshape", ["levels", "column"], ["level"], {}),
        ("Cast", ["sr"], ["rate"], {"to": 1}),
        ("Concat", ["mean", "level"], ["sum"], {"axis": 1}),
        ("Add", ["sum", "rate"], ["out"], {}),
        ("Add", ["state", "rate"], ["stateN"], {}),
    ]
    outputs = {"out": ("float32", ["batch", 5]), "stateN": ("float32", [2, "batch", 8])}
    weights = {"form": np.array([0, -1, 16]), "w": WEIGHT, "column": np.array([-1, 1])}
    return onnx_file(path, inputs, nodes, outputs, weights)


def test_a_state_starts_at_zero_and_numbers_are_given_by_name(tmp_path):
    path = recurrent_onnx(tmp_path / "x.onnx")
    x = sound(3)
    teacher = load_teacher(f"onnx:{path}#out?rate={RATE}&window=0.064&sr=7")
    mean = np.concatenate([expected(x).mean(1), np.zeros((3, 1))], axis=1)
    np.testing.assert_allclose(teacher.embed(x), mean + 7, rtol=1e-5)
    np.testing.assert_allclose(teacher.embed(x), teacher.embed(x))  # no state is left over
    assert teacher.notice == "x.onnx: state start at zero in every window" and check_encoder(teacher) == []
    started = load_teacher(f"onnx:{path}#out?rate={RATE}&window=0.064&sr=7&state=0.5")
    np.testing.assert_allclose(started.embed(x), mean + np.array([7, 7, 7, 7, 7.5]), rtol=1e-5)
    assert started.fingerprint != teacher.fingerprint
    assert teacher.costs().parameters == WEIGHT.size
    with pytest.raises(OptionError, match=r"x is the waveform, and sr int64 \(\) must be given: add &sr=NUMBER"):
        load_teacher(f"onnx:{path}#out?rate={RATE}&window=0.064")
    with pytest.raises(OptionError, match=r"or input of .*x.onnx, 'stat': did you mean state"):
        load_teacher(f"onnx:{path}#out?rate={RATE}&window=0.064&sr=7&stat=0")
    with pytest.raises(EncoderError, match="does not depend on the sound"):
        load_teacher(f"onnx:{path}#stateN?rate={RATE}&window=0.064&sr=7&pool=last")


def test_an_output_is_the_next_value_of_one_state_only(tmp_path):
    form = ("float32", [1, 1, 8])
    inputs = {"x": ("float32", [1, 64]), "h": form, "c": form}
    nodes = [("Identity", ["x"], ["out"], {}), ("Add", ["h", "c"], ["next"], {})]
    path = onnx_file(tmp_path / "x.onnx", inputs, nodes, {"out": ("float32", [1, 64]), "next": form})
    with pytest.raises(OptionError, match=r"x is the waveform, and c float32 \(1, 1, 8\) must be given: add &c=NUMBER"):
        load_teacher(f"onnx:{path}#out?rate={RATE}")
    np.testing.assert_array_equal(load_teacher(f"onnx:{path}#out?rate={RATE}&c=0").embed(sound(2)), sound(2))


def second_onnx(path: Path) -> Path:
    """(batch, 4 frames, 4, 1) -> "vector" (batch, 16)."""
    form = {"form": np.array([0, 16])}
    return onnx_file(
        path, {"m": ("float32", ["b", 4, 4, 1])}, [("Reshape", ["m", "form"], ["vector"], {})], {"vector": None}, form
    )


def test_two_files_in_a_row(tmp_path):
    first = frames_onnx(tmp_path / "first.onnx", ["batch", "n"])
    second_onnx(tmp_path / "second.onnx")
    x = sound(3)
    text = f"onnx:{first}?rate={RATE}&window=0.064&then=second.onnx"
    teacher = load_teacher(f"{text}&times=0.1&plus=2")
    np.testing.assert_allclose(teacher.embed(x), expected(x).reshape(3, 16) * 0.1 + 2, rtol=1e-5)
    assert check_encoder(teacher) == []
    assert teacher.fingerprint != load_teacher(text).fingerprint
    with pytest.raises(EncoderError, match=r"gives \(1, 5, 4\) for one waveform, .* give a window of which they fit"):
        load_teacher(text.replace("0.064", "0.08"))
    with pytest.raises(OptionError, match=r"then=no.onnx does not exist"):
        load_teacher(f"onnx:{first}?rate={RATE}&then=no.onnx")
    with pytest.raises(OptionError, match="has no output 'vectr': did you mean vector"):
        load_teacher(text.replace("?", "#vectr?"))


def test_a_wrong_output_is_answered_with_all_and_their_shapes(tmp_path):
    path = frames_onnx(tmp_path / "x.onnx", ["batch", 64])
    with pytest.raises(
        OptionError, match=r"its outputs are frames float32 \(batch, 4, 4\); inner values are float \(batch, 64\)"
    ):
        load_teacher(f"onnx:{path}#none?rate={RATE}")


def test_whole_numbers_are_no_embedding_in_onnx(tmp_path):
    nodes = [("ArgMax", ["x"], ["class"], {"axis": 1})]
    path = onnx_file(tmp_path / "x.onnx", {"x": ("float32", ["b", 64])}, nodes, {"class": ("int64", ["b", 1])})
    with pytest.raises(EncoderError, match="#class gives int64 values, not an embedding: name a value of floats"):
        load_teacher(f"onnx:{path}?rate={RATE}")


# ---- the same in LiteRT ---------------------------------------------------------------------------------------


def frames_tflite(path: Path, shape: list, outputs: list, dtype: str = "float32") -> Path:
    """A waveform as "frames" (1, 4, 16), and "whole" (1, 64) in int8 of scale 1/256 and zero 5."""
    quantisation = (1 / 128, 3) if dtype == "int8" else ()
    tensors = {
        "x": (dtype, shape, *quantisation),
        "flat": ("float32", [1, 64]),
        "frames": ("float32", [1, 4, 16]),
        "whole": ("int8", [1, 64], 1 / 256, 5),
    }
    operators = [
        ("RESHAPE", ["floats" if dtype == "int8" else "x"], ["flat"], "ReshapeOptions", {"newShape": [1, 64]}),
        ("RESHAPE", ["flat"], ["frames"], "ReshapeOptions", {"newShape": [1, 4, 16]}),
        ("QUANTIZE", ["flat"], ["whole"], "QuantizeOptions", {}),
    ]
    if dtype == "int8":
        tensors["floats"] = ("float32", shape)
        operators.insert(0, ("DEQUANTIZE", ["x"], ["floats"], "DequantizeOptions", {}))
    return tflite_file(path, tensors, operators, ["x"], outputs)


def test_litert_pools_sequences_of_channel_last_inputs(tmp_path):
    path = frames_tflite(tmp_path / "x.tflite", [-1, 64, 1], ["frames"])
    x = sound(3)
    for pool, answer in {"mean": x.reshape(3, 4, 16).mean(1), "last": x[:, -16:]}.items():
        teacher = load_teacher(f"litert:{path}?rate={RATE}&pool={pool}&range=int16")
        np.testing.assert_allclose(teacher.embed(x), answer * 32768, rtol=1e-4)
        assert check_encoder(teacher) == []
    with pytest.raises(EncoderError, match="add pool=mean"):
        load_teacher(f"litert:{path}?rate={RATE}")


def test_litert_whole_numbers_are_scaled_back(tmp_path):
    x = sound(3)
    teacher = load_teacher(f"litert:{frames_tflite(tmp_path / 'x.tflite', [1, 64], ['whole'])}?rate={RATE}")
    np.testing.assert_allclose(teacher.embed(x), np.clip(x, -133 / 256, 122 / 256), atol=0.5 / 256 + 1e-6)
    path = frames_tflite(tmp_path / "both.tflite", [1, 64], ["whole"], "int8")
    both = load_teacher(f"litert:{path}?rate={RATE}")
    np.testing.assert_allclose(both.embed(x), x, atol=0.5 / 128 + 0.5 / 256 + 1e-6)
    with pytest.raises(OptionError, match=r"its outputs are whole \(1, 64\) int8"):
        load_teacher(f"litert:{path}#none?rate={RATE}")


def test_litert_whole_numbers_without_a_scale_are_refused(tmp_path):
    tensors = {"x": ("float32", [1, 64]), "whole": ("int8", [1, 64])}
    path = tflite_file(
        tmp_path / "x.tflite", tensors, [("CAST", ["x"], ["whole"], "CastOptions", {})], ["x"], ["whole"]
    )
    with pytest.raises(EncoderError, match="gives int8 values without a scale"):
        load_teacher(f"litert:{path}?rate={RATE}")


def test_litert_two_files_and_further_inputs(tmp_path):
    first = frames_tflite(tmp_path / "first.tflite", [1, 64], ["frames"])
    tensors = {"m": ("float32", [1, 4, 16, 1]), "vector": ("float32", [1, 64])}
    reshape = ("RESHAPE", ["m"], ["vector"], "ReshapeOptions", {"newShape": [1, 64]})
    tflite_file(tmp_path / "second.tflite", tensors, [reshape], ["m"], ["vector"])
    x = sound(3)
    two = load_teacher(f"litert:{first}?rate={RATE}&then=second.tflite&times=0.5&plus=1")
    np.testing.assert_allclose(two.embed(x), x / 2 + 1, rtol=1e-6)
    tensors = {
        **{"x": ("float32", [1, 64]), "gain": ("float32", [1]), "h": ("float32", [1, 1, 64])},
        **{"loud": ("float32", [1, 64]), "sum": ("float32", [1, 1, 64])},
    }
    operators = [
        ("MUL", ["x", "gain"], ["loud"], "MulOptions", {}),
        ("ADD", ["loud", "h"], ["sum"], "AddOptions", {}),
    ]
    path = tflite_file(tmp_path / "more.tflite", tensors, operators, ["x", "gain", "h"], ["loud", "sum"])
    more = load_teacher(f"litert:{path}#loud?rate={RATE}&gain=3&h=0")
    np.testing.assert_allclose(more.embed(x), 3 * x, rtol=1e-6)
    with pytest.raises(OptionError, match=r"gain float32 .* must be given: add &gain=NUMBER"):
        load_teacher(f"litert:{path}#loud?rate={RATE}&h=0")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_takes_the_same_options(tmp_path):
    torch = pytest.importorskip("torch", reason="the train extra is not installed")

    class Frames(torch.nn.Module):
        def forward(self, x, sr: int):
            return x.reshape(x.shape[0], -1, 16) * sr

    torch.jit.script(Frames()).save(str(tmp_path / "x.ts"))
    text = f"torchscript:{tmp_path / 'x.ts'}?rate={RATE}&window=0.064&layout=last&pool=max&range=int16"
    x = sound(3)
    teacher = load_teacher(f"{text}&sr=2", device="cpu")
    np.testing.assert_allclose(teacher.embed(x), x.reshape(3, 4, 16).max(1) * 65536, rtol=1e-5)
    with pytest.raises(SondinoError, match=f"(?s)missing value for argument 'sr'.*{SIX_LINES}"):
        load_teacher(text, device="cpu")

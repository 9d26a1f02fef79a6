"""The examples in Python, C++ and JavaScript print the same numbers of the same clip."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

import sondino

onnx = pytest.importorskip("onnx")

EXAMPLES = Path(__file__).parents[1] / "examples"
RATE = 22050
PACKAGES = {
    "onnxruntime-node": EXAMPLES / "javascript" / "node_modules",
    "onnxruntime-web": EXAMPLES.parent / "web" / "node_modules",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A graph as ours are, whose embedding is computed by hand: mean, largest, smallest, length and size of a clip."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    parts = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceSumSquare"]
    nodes = [helper.make_node(part, ["waveform", "axis"], [part], keepdims=1) for part in parts]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Concat", parts, ["vector"], axis=1)],
        "by hand",
        [helper.make_tensor_value_info("waveform", kind, ["batch", "samples"])],
        [helper.make_tensor_value_info("vector", kind, ["batch", 6])],
        [helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {"sample_rate": str(RATE)})
    file = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(made, file)
    (file.parent / "export.json").write_text(json.dumps({"sample_rate": RATE}))
    return file


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, tuple[Path, np.ndarray]]:
    """WAV files in each form that is read, and the mono samples in them."""
    folder = tmp_path_factory.mktemp("clips")
    sound = (0.3 * np.random.default_rng(7).standard_normal((RATE // 4, 2))).clip(-0.99, 0.99).astype(np.float32)
    found = {}
    for name, samples, kind, subtype in [
        ("mono", sound[:, :1], "WAV", "PCM_16"),
        ("stereo", sound, "WAV", "PCM_16"),
        ("float", sound, "WAV", "FLOAT"),
        ("extended", sound, "WAVEX", "PCM_16"),
    ]:
        file = folder / f"{name}.wav"
        soundfile.write(file, samples, RATE, subtype=subtype, format=kind)
        found[name] = file, soundfile.read(file, dtype="float32", always_2d=True)[0].mean(axis=1)
    return found


def expected(mono: np.ndarray) -> np.ndarray:
    x = mono.astype(np.float64)
    return np.array([x.mean(), x.max(), x.min(), np.sqrt((x**2).sum()), np.abs(x).sum()])


def run(command: list[object], model: Path, clip: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command), str(model), str(clip)], capture_output=True, text=True, check=False)


def printed(command: list[object], model: Path, clip: Path) -> list[float]:
    """The numbers that an example prints, and nothing else."""
    done = run(command, model, clip)
    assert (done.returncode, done.stderr) == (0, ""), clip
    numbers = done.stdout.split()
    assert all(len(number.partition(".")[2]) == 6 for number in numbers)
    return [float(number) for number in numbers]


def check(command: list[object], model: Path, clips: dict[str, tuple[Path, np.ndarray]], tmp_path: Path) -> None:
    """It prints the right numbers of every clip, and a message where the rate is another."""
    for file, mono in clips.values():
        np.testing.assert_allclose(printed(command, model, file), expected(mono), rtol=2e-6, atol=2e-6)
    other = tmp_path / "other.wav"
    soundfile.write(other, np.zeros(800, np.float32), 16000)
    refused = run(command, model, other)
    assert refused.returncode == 1
    assert refused.stderr.strip() == f"{other} is at 16000 Hz, the model expects {RATE} Hz: resample it first"


def check_student(command: list[object], bundle: Path, tmp_path: Path) -> None:
    """Of a real student, log-mel and all, it prints what sondino gives."""
    model = sondino.load(bundle)
    clip = tmp_path / "clip.wav"
    t = np.arange(model.sample_rate // 2) / model.sample_rate  # the model's window
    sound = 0.2 * np.sin(2 * np.pi * 440 * t) + 0.05 * np.random.default_rng(1).standard_normal(len(t))
    soundfile.write(clip, sound, model.sample_rate)
    vector = model.embed(clip)[0]
    given = printed(command, bundle / "model.onnx", clip)
    np.testing.assert_allclose(given, vector[:5], atol=1e-4 * np.abs(vector).max())


def test_python_is_twelve_lines_and_needs_onnxruntime_and_soundfile_alone(model, clips, student_bundle, tmp_path):
    example = EXAMPLES / "python" / "embed.py"
    assert len([line for line in example.read_text().splitlines() if line]) <= 12
    tree = ast.parse(example.read_text())
    assert {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names} == {
        *("os", "sys", "onnxruntime", "soundfile")
    }
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    check([sys.executable, example], model, clips, tmp_path)
    check_student([sys.executable, example], student_bundle, tmp_path)


@pytest.mark.parametrize("package", [pytest.param("onnxruntime-node", marks=pytest.mark.full), "onnxruntime-web"])
def test_javascript(package, model, clips, student_bundle, tmp_path):
    node, packages = shutil.which("node"), PACKAGES[package]
    if node is None or not (packages / package / "package.json").exists():
        pytest.skip(f"needs node, and npm ci in {packages.parent.relative_to(EXAMPLES.parent)}")
    shutil.copy(EXAMPLES / "javascript" / "embed.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    check([node, tmp_path / "embed.mjs"], model, clips, tmp_path)
    check_student([node, tmp_path / "embed.mjs"], student_bundle, tmp_path)
    alone = shutil.copy(model, tmp_path)
    refused = run([node, tmp_path / "embed.mjs"], alone, clips["mono"][0])
    assert refused.returncode == 1 and "neither config.json nor export.json lies beside" in refused.stderr


@pytest.mark.full
def test_cpp(model, clips, student_bundle, tmp_path):
    # The library is that of the Python package, which has no headers: those are sought on this system.
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"), None)
    if library is None or shutil.which("cmake") is None or not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("needs Linux, CMake and a C++ compiler")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(library)
    build = tmp_path / "build"
    headers = os.environ.get("ONNXRUNTIME_INCLUDE")
    where = [f"-DONNXRUNTIME_INCLUDE={headers}"] if headers else []
    made = ["cmake", "-S", EXAMPLES / "cpp", "-B", build, f"-DONNXRUNTIME_LIBRARY={tmp_path / 'libonnxruntime.so'}"]
    done = subprocess.run([*made, *where], capture_output=True, text=True, check=False)
    if "ONNX Runtime was not found" in done.stderr:
        pytest.skip("needs ONNX Runtime's C++ headers: set ONNXRUNTIME_INCLUDE to the folder of onnxruntime_cxx_api.h")
    assert done.returncode == 0, done.stderr
    compiled = subprocess.run(["cmake", "--build", build], capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    assert "warning" not in compiled.stdout + compiled.stderr
    check([build / "embed"], model, clips, tmp_path)
    check_student([build / "embed"], student_bundle, tmp_path)

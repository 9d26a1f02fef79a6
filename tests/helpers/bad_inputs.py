"""What a user can get wrong, one function a mistake: each must raise a message. cli/bad_inputs.md shows them all."""

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

import sondino
from sondino import audio
from sondino.embedding.similar import find_similar
from sondino.embedding.streams import embed_stream
from sondino.encoder.head import Head
from sondino.errors import SondinoError

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


class Place:
    """A folder to be wrong in, and a model of 16 kHz and windows of 1 s with 3 embedding dimensions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = sondino.load(TINY, threads=1)

    def file(self, name: str, content: bytes | str = b"") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def wav(self, name: str, samples: int = 16000, value: float = 0.1) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(samples, value, np.float32), 16000, subtype="FLOAT")
        return path

    def bundle(self, name: str, **changed: object) -> Path:
        """The tiny bundle with other entries in its config."""
        folder = self.folder / name
        folder.mkdir()
        for file in TINY.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changed}))
        return folder

    def table(self, vectors: np.ndarray, name: str = "table.npz") -> Path:
        np.savez(self.folder / name, ids=np.array([f"{i}.wav" for i in range(len(vectors))]), vectors=vectors)
        return self.folder / name

    def command(self, *arguments: object) -> None:
        """Run a command line in this process; a mistake is raised."""
        from sondino.cli.app import app

        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)


@dataclass(frozen=True)
class Mistake:
    """One row of the page."""

    group: str
    what: str
    make: Callable[[Place], object]
    needs: tuple[str, ...] = ()


MISTAKES: list[Mistake] = []


def mistake(group: str, what: str, *needs: str) -> Callable[[Callable[[Place], object]], None]:
    """Register a mistake; `needs` are modules without which it cannot be made."""
    return lambda make: MISTAKES.append(Mistake(group, what, make, needs))


def message_of(mistake: Mistake, folder: Path) -> str:
    """The message that a mistake gets, its folder left out."""
    try:
        mistake.make(Place(folder))
    except SondinoError as error:
        text = str(error).replace(str(folder) + os.sep, "").replace(str(folder), ".")
        return re.sub(r"\s+", " ", text)
    raise AssertionError(f"nothing was said of: {mistake.what}")


class Runs:
    """Unpickled, it would make a file."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch ran",)


def torch_zip(content: object) -> bytes:
    """What torch.save writes, without torch: a zip around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        pack.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        pack.writestr("archive/version", "3\n")
        pack.writestr("archive/byteorder", "little")
    return out.getvalue()


# ---- files of sound -------------------------------------------------------------------------------------------

F = "A file of sound"
mistake(F, "no such file")(lambda p: p.model.embed(p.folder / "gone.wav"))
mistake(F, "a folder without sound")(lambda p: p.model.embed(p.folder))
mistake(F, "a list")(lambda p: audio.find_audio(p.file("list.csv", "path\na.wav\n")))
mistake(F, "a pointer of Git LFS")(
    lambda p: audio.find_audio(
        p.file("a.wav", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 64044\n")
    )
)
mistake(F, "an empty file")(lambda p: p.model.embed(p.file("empty.wav")))
mistake(F, "text named .wav")(lambda p: p.model.embed(p.file("notes.wav", "not a sound\n" * 9)))
mistake(F, "a header and no samples")(lambda p: p.model.embed(p.wav("none.wav", 0)))
mistake(F, "nothing but NaN")(lambda p: p.model.embed(p.wav("nan.wav", value=float("nan"))))
mistake(F, "an image named .flac")(lambda p: p.model.embed(p.file("cover.flac", b"\x89PNG\r\n\x1a\n" + bytes(999))))
mistake(F, "random bytes named .mp3")(
    lambda p: p.model.embed(p.file("noise.mp3", np.random.default_rng(0).bytes(5000)))
)
mistake(F, "a start past the end")(lambda p: audio.read(p.wav("a.wav"), 16000, start=5.0))
mistake(F, "a stretch that ends before it starts")(lambda p: p.model.embed(f"{p.wav('a.wav')}#t=4,2"))
mistake(F, "a channel that it does not have")(lambda p: p.model.embed(p.wav("a.wav"), channel=2))
mistake(F, "a negative start")(lambda p: audio.read(p.wav("a.wav"), 16000, start=-1.0))
mistake(F, "a duration of 0")(lambda p: audio.read(p.wav("a.wav"), 16000, duration=0.0))
mistake(F, "a short clip where only full windows are processed")(
    lambda p: p.model.embed(p.wav("short.wav", 4000), window_policy="published")
)
mistake(F, "a folder in which no file can be decoded")(
    lambda p: sondino.embed_files(p.file("in/a.wav", "no").parent, p.model, p.folder / "out.npz")
)

# ---- arrays ---------------------------------------------------------------------------------------------------

A = "An array of sound"
SECOND = np.full(16000, 0.1, np.float32)
mistake(A, "without its rate")(lambda p: p.model.embed(SECOND))
mistake(A, "a rate of 0")(lambda p: p.model.embed((SECOND, 0)))
mistake(A, "a negative rate")(lambda p: p.model.embed((SECOND, -16000)))
mistake(A, "a rate of NaN")(lambda p: p.model.embed((SECOND, float("nan"))))
mistake(A, "a rate that is text")(lambda p: p.model.embed((SECOND, "16k")))
mistake(A, "no samples")(lambda p: p.model.embed((np.zeros(0, np.float32), 16000)))
mistake(A, "three dimensions")(lambda p: p.model.embed((np.zeros((2, 2, 9), np.float32), 16000)))
mistake(A, "as many channels as samples")(lambda p: p.model.embed((np.zeros((99, 99), np.float32), 16000)))
mistake(A, "complex numbers")(lambda p: p.model.embed((SECOND.astype(np.complex64), 16000)))
mistake(A, "text")(lambda p: p.model.embed((np.array(["a", "b"]), 16000)))
mistake(A, "all NaN")(lambda p: p.model.embed((SECOND * np.nan, 16000)))
mistake(A, "None in a list")(lambda p: p.model.embed([None]))
mistake(A, "a number")(lambda p: p.model.embed(3))
mistake(A, "waveforms of no samples")(lambda p: p.model.embed(np.zeros((2, 0), np.float32)))
mistake(A, "two sounds for `embed_windows`")(lambda p: p.model.embed_windows([(SECOND, 16000), (SECOND, 16000)]))

# ---- options --------------------------------------------------------------------------------------------------

OPTION = "An option"
mistake(OPTION, "`short` that is none")(lambda p: p.model.embed((SECOND, 16000), short="stretch"))
mistake(OPTION, "`window_policy` that is none")(lambda p: sondino.load(TINY, window_policy="most"))
mistake(OPTION, "a window of 0 s")(lambda p: p.model.embed((SECOND, 16000), window=0.0))
mistake(OPTION, "a negative hop")(lambda p: p.model.embed((SECOND, 16000), hop=-0.5))
mistake(OPTION, "a window of NaN")(lambda p: p.model.embed((SECOND, 16000), window=float("nan")))
mistake(OPTION, "0 threads")(lambda p: sondino.load(TINY, threads=0))
mistake(OPTION, "an engine that is none")(lambda p: sondino.load(TINY, engine="tensorrt"))
mistake(OPTION, "half precision with ONNX Runtime")(lambda p: sondino.load(TINY, precision="float16"))
mistake(OPTION, "fewer weights than teachers", "accelerate")(
    lambda p: sondino.distill(p.folder, teacher=["birdnet", "m2d"], teacher_weight="2", out=p.folder / "run")
)
mistake(OPTION, "a weight of 0", "accelerate")(
    lambda p: sondino.distill(p.folder, teacher=["birdnet", "m2d"], teacher_weight="2,0", out=p.folder / "run")
)
mistake(OPTION, "clusters of a teacher that is none", "accelerate")(
    lambda p: sondino.distill(p.folder, teacher=["birdnet", "m2d"], cluster_on="3", out=p.folder / "run")
)
mistake(OPTION, "a device that is none")(lambda p: sondino.load(TINY, device="tpu"))
mistake(OPTION, "an output that is no table")(
    lambda p: sondino.embed_files(p.wav("a.wav"), p.model, p.folder / "out.xlsx")
)
mistake(OPTION, "`append` to a table that was written without")(
    lambda p: sondino.embed_files(p.wav("a.wav"), p.model, p.table(np.eye(3, dtype=np.float32)), append=True)
)
mistake(OPTION, "`--append` to standard output")(
    lambda p: p.command("embed", p.wav("a.wav"), "--model", TINY, "--output", "-", "--append")
)
mistake(OPTION, "no output")(lambda p: p.command("embed", p.wav("a.wav"), "--model", TINY))
mistake(OPTION, "`-` beside files")(lambda p: p.command("embed", "-", p.wav("a.wav"), "--model", TINY))
mistake(OPTION, "an option that is none")(
    lambda p: p.command("embed", p.wav("a.wav"), "--model", TINY, "--outptu", "x.npz")
)
mistake(OPTION, "a rate of raw sound, for files")(
    lambda p: p.command("embed", p.wav("a.wav"), "--model", TINY, "--output", p.folder / "o.npz", "--rate", 8000)
)

# ---- models ---------------------------------------------------------------------------------------------------

M = "A model"
mistake(M, "a name that is none")(lambda p: sondino.load("ssondo/matpac-mobilenet"))
mistake(M, "the published package's name")(lambda p: sondino.load("matpac-mobilenetv3"))
mistake(M, "a folder that is no bundle")(lambda p: sondino.load(p.file("plain/readme.txt", "hello").parent))
mistake(M, "a path that is not there")(lambda p: sondino.load(p.folder / "gone"))
mistake(M, "a hub name with a path in it")(lambda p: sondino.load("hf:../../etc/passwd"))
mistake(M, "a config.json that is no JSON")(lambda p: sondino.load(p.file("b/config.json", "{").parent))
mistake(M, "a config.json of another format")(lambda p: sondino.load(p.bundle("b", format="sondino-bundle-9")))
mistake(M, "a config.json without a rate")(lambda p: sondino.load(p.bundle("b", sample_rate=None)))
mistake(M, "a front-end with an entry missing")(lambda p: sondino.load(p.bundle("b", front_end={"n_fft": 512})))
mistake(M, "a damaged model.onnx")(
    lambda p: sondino.load((p.bundle("b") / "model.onnx").write_bytes(b"no") and p.folder / "b")
)
mistake(M, "no model.onnx")(lambda p: sondino.load((p.bundle("b") / "model.onnx").unlink() or p.folder / "b"))
mistake(M, "a bundle whose head is gone")(
    lambda p: sondino.load(p.bundle("b", head={"name": "x", "labels": ["a"], "multi_label": True, "layers": 1}))
)

# ---- checkpoints ----------------------------------------------------------------------------------------------

C = "A checkpoint"
mistake(C, "a pickle that would run a command", "torch")(
    lambda p: sondino.load(p.file("evil.ckpt", pickle.dumps({"state_dict": Runs()})))
)
mistake(C, "the same inside torch's zip", "torch")(
    lambda p: sondino.load(p.file("evil.pt", torch_zip({"state_dict": Runs()})))
)
mistake(C, "an empty file", "torch")(lambda p: sondino.load(p.file("empty.ckpt")))
mistake(C, "text", "torch")(lambda p: sondino.load(p.file("notes.pt", "hello")))
mistake(C, "half a zip", "torch")(lambda p: sondino.load(p.file("half.ckpt", torch_zip({"a": 1})[:200])))
mistake(C, "what git keeps in place of a large file", "torch")(
    lambda p: sondino.load(
        p.file("pointer.ckpt", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    )
)
mistake(C, "no weights in it", "torch")(lambda p: sondino.load(p.file("config.ckpt", torch_zip({"lr": 0.1}))))
mistake(C, "a damaged .safetensors", "torch")(lambda p: sondino.load(p.file("model.safetensors", b"\xff" * 64)))

# ---- heads and labels -----------------------------------------------------------------------------------------

H = "Heads and labels"


def labelled(place: Place, *names: str) -> Path:
    for name in names:
        place.wav(f"sounds/{name}")
    return place.folder / "sounds"


mistake(H, "`classify` without a head")(lambda p: p.model.classify((SECOND, 16000)))


def unlike(place: Place, model: object, highest: str) -> None:
    place.command("classify", place.wav("a.wav"), "--model", model, "--max-unlike", highest, "--quiet")


mistake(H, "a largest `unlike` over 1")(lambda p: unlike(p, "sondino-small", "2"))
mistake(H, "a largest `unlike` for a head without the score")(lambda p: unlike(p, "sondino-small", "0.9"))
mistake(H, "a head's name that is none")(lambda p: sondino.load(TINY, head="esc5"))
mistake(H, "a head for embeddings of another dimension")(
    lambda p: p.model.with_head(Head("wide", ("a", "b"), False, ((np.zeros((2, 9)), np.zeros(2)),)))
)
mistake(H, "two labels of one name")(lambda p: Head("x", ("a", "a"), False, ((np.zeros((2, 3)), np.zeros(2)),)))
mistake(H, "more labels than outputs")(lambda p: Head("x", ("a", "b", "c"), False, ((np.zeros((2, 3)), np.zeros(2)),)))
mistake(H, "a head's file that would run a command", "torch")(
    lambda p: sondino.load(TINY, head=p.file("esc50.pth", pickle.dumps(Runs())))
)


def probe(place: Place, source: Path) -> None:
    place.command("probe", source, "--model", TINY, "--out", place.folder / "out", "--quiet")


mistake(H, "sounds in no subfolder", "sklearn")(lambda p: probe(p, labelled(p, "a.wav", "b.wav")))
mistake(H, "one label only", "sklearn")(lambda p: probe(p, labelled(p, "dog/a.wav", "dog/b.wav")))
mistake(H, "a list without a column of paths", "sklearn")(
    lambda p: probe(p, p.file("l.csv", "file,label\na.wav,dog\n"))
)
mistake(H, "a list without labels", "sklearn")(lambda p: probe(p, p.file("l.csv", "path\na.wav\n")))
mistake(H, "an empty list", "sklearn")(lambda p: probe(p, p.file("l.csv", "")))
mistake(H, "a split that is none", "sklearn")(
    lambda p: (
        [p.wav("a.wav"), p.wav("b.wav")]
        and probe(p, p.file("l.csv", "path,label,split\na.wav,dog,holdout\nb.wav,cat,train\n"))
    )
)
mistake(H, "a split in another case", "sklearn")(
    lambda p: probe(p, p.file("l.csv", "path,label,Split\na.wav,dog,test\n"))
)
mistake(H, "a stretch without a length", "sklearn")(
    lambda p: probe(p, p.file("l.csv", "path,label,start,end\na.wav,dog,5,5\n"))
)
mistake(H, "a label with a comma", "sklearn")(lambda p: probe(p, p.file("l.csv", "path,label\na.wav,dog, big\n")))


def lacking_part(place: Place) -> Path:
    """A table in parts whose only part is not there."""
    facts = {"format": "sondino-parts-1", "dim": 3, "rows": 1, "per_window": False}
    parts = {"parts": [{"file": "part-000000.parquet", "rows": 1}]}
    return place.file("parts/manifest.json", json.dumps(facts | parts)).parent


def stale_index(place: Place) -> object:
    """A search by the index of a table that was written anew."""
    table = place.table(EYE)
    index = sondino.build_index(table).folder
    place.table(np.concatenate([EYE, EYE]))
    return find_similar(EYE[0], table, index=index)


# ---- tables and search ----------------------------------------------------------------------------------------

T = "A table of embeddings"
EYE = np.eye(3, dtype=np.float32)
mistake(T, "no such table")(lambda p: find_similar(EYE[0], p.folder / "gone.npz"))
mistake(T, "a file that is no table")(lambda p: find_similar(EYE[0], p.file("embeddings.npz", "no")))
mistake(T, "an .npz of something else")(
    lambda p: find_similar(EYE[0], np.savez(p.folder / "x.npz", a=EYE) or p.folder / "x.npz")
)
mistake(T, "pickled objects in it")(
    lambda p: find_similar(
        EYE[0],
        np.savez(p.folder / "x.npz", ids=np.array([Runs()], dtype=object), vectors=EYE[:1]) or p.folder / "x.npz",
    )
)
mistake(T, "a query of another length")(lambda p: find_similar(np.ones(5), p.table(EYE)))
mistake(T, "a query of zeros")(lambda p: find_similar(np.zeros(3), p.table(EYE)))
mistake(T, "NaN in the table")(lambda p: find_similar(EYE[0], p.table(EYE * np.nan)))
mistake(T, "an id that is not in it")(lambda p: p.command("similar", "7.wav", "--in", p.table(EYE)))
mistake(T, "no neighbours asked for")(lambda p: find_similar(EYE[0], p.table(EYE), k=0))
mistake(T, "a folder without tables in it")(lambda p: find_similar(EYE[0], p.file("parts/notes.txt", "no").parent))
mistake(T, "a table in parts that lacks one")(lambda p: find_similar(EYE[0], lacking_part(p)))
mistake(T, "an index that is not there")(lambda p: find_similar(EYE[0], p.table(EYE), index=p.folder / "gone.index"))
mistake(T, "an index of a .csv", "usearch")(lambda p: p.command("index", p.file("t.csv", "id,v0\na.wav,1\n")))
mistake(T, "an index of a table that has changed", "usearch")(lambda p: stale_index(p))

# ---- streams --------------------------------------------------------------------------------------------------

S = "A stream"


def stream(place: Place, content: bytes, **options: object) -> None:
    list(embed_stream(place.model, io.BytesIO(content), **options))


def header(codec: int, channels: int = 1, rate: int = 16000, bits: int = 16) -> bytes:
    width = channels * bits // 8
    numbers = (codec, 2), (channels, 2), (rate, 4), (rate * width, 4), (width, 2), (bits, 2)
    form = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data\xff\xff\xff\xff"


mistake(S, "nothing comes")(lambda p: stream(p, b""))
mistake(S, "no WAV, and no rate for raw sound")(lambda p: stream(p, bytes(4000)))
mistake(S, "a header that breaks off")(lambda p: stream(p, header(1)[:30]))
mistake(S, "a header and no sound")(lambda p: stream(p, header(1)))
mistake(S, "a codec that is not read")(lambda p: stream(p, header(0x55) + bytes(999)))
mistake(S, "a hop of 0 s")(lambda p: stream(p, header(1) + bytes(9999), hop=0.0))
mistake(S, "raw sound of no channels")(lambda p: stream(p, bytes(999), rate=16000, channels=0))


# ---- data sets ------------------------------------------------------------------------------------------------

D = "Data sets to evaluate on"


def archive(p: Place, name: str, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(p.file(name), "w") as pack:
        for member, content in members.items():
            entry = zipfile.ZipInfo("x")
            entry.filename = member
            pack.writestr(entry, content)
    return p.folder / name


def unpacked(p: Place, file: Path, limit: int = 10**6) -> object:
    from sondino.tasks.unpack import unpack

    return unpack([file], p.folder / "out", limit)


def tasks(p: Place, *names: object) -> object:
    from sondino.tasks.registry import read_tasks

    return read_tasks([str(name) for name in names], p.folder)


ESC = b"filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,dog,True,1,A\n"
mistake(D, "a task that nobody knows")(lambda p: tasks(p, "esc5"))
mistake(D, "no task")(lambda p: tasks(p))
mistake(D, "a task that is not there")(lambda p: tasks(p, "us8k"))
mistake(D, "a task that is not there and cannot be fetched")(lambda p: tasks(p, "gtzan"))
mistake(D, "all tasks, and none is there")(lambda p: tasks(p, "all"))
mistake(D, "a folder or list that is not there")(lambda p: tasks(p, "birds/mine.csv"))
mistake(D, "the folder of a published data set as one of your own")(
    lambda p: tasks(p, p.file("ESC-50-master/meta/esc50.csv", ESC).parents[1])
)
mistake(D, "a data set without its sound")(lambda p: (p.file("ESC-50-master/meta/esc50.csv", ESC), tasks(p, "esc50")))
mistake(D, "one fold of a data set")(
    lambda p: (p.file("ESC-50-master/meta/esc50.csv", ESC), p.wav("ESC-50-master/audio/1-1-A-0.wav"), tasks(p, "esc50"))
)
mistake(D, "a list of a data set that lacks a column")(
    lambda p: (p.file("ESC-50-master/meta/esc50.csv", "filename,fold\n"), tasks(p, "esc50"))
)
mistake(D, "a list of a data set that breaks off")(
    lambda p: (p.file("ESC-50-master/meta/esc50.csv", ESC + b"1-2-"), tasks(p, "esc50"))
)
mistake(D, "fetch a data set that cannot be fetched")(
    lambda p: p.command("tasks", "--fetch", "mtt", "--data", p.folder)
)
mistake(D, "fetch a data set that nobody knows")(lambda p: p.command("tasks", "--fetch", "esc5", "--data", p.folder))
mistake(D, "fetch where another folder is in the way")(
    lambda p: (p.file("ESC-50-master/x"), p.command("tasks", "--fetch", "esc50", "--data", p.folder))
)
mistake(D, "an archive with a name that leads out of its folder")(
    lambda p: unpacked(p, archive(p, "set.zip", {"../../evil.wav": b"x"}))
)
mistake(D, "an archive with an absolute name")(lambda p: unpacked(p, archive(p, "set.zip", {"/etc/evil": b"x"})))
mistake(D, "an archive of which far more comes out than expected")(
    lambda p: unpacked(p, archive(p, "set.zip", {"bomb.wav": bytes(2_000_000)}))
)
mistake(D, "an archive that breaks off")(lambda p: unpacked(p, p.file("set.zip", b"PK\3\4 and no more")))
mistake(D, "a text in place of an archive")(lambda p: unpacked(p, p.file("set.tar.gz", b"404 Not Found")))


# ---- evaluating -----------------------------------------------------------------------------------------------

E = "Evaluating, sweeps and reports"


def evaluated(p: Place, *models: object, **options: object) -> object:
    from sondino.evaluation.evaluate import evaluate

    return evaluate([str(model) for model in models], p.folder / "out", quiet=True, **options)  # type: ignore[arg-type]


def varied(p: Place, *vary: str, **recipe: object) -> object:
    from sondino.evaluation.grid import plan_runs, read_vary

    return plan_runs({"teacher": "birdnet", **recipe}, read_vary(vary), ())


def reported(p: Place) -> object:
    from sondino.reporting.report import report

    return report(p.folder)


LABELS = "path,label,fold\na.wav,a,1\nb.wav,b,1\n"
mistake(E, "no model")(lambda p: evaluated(p, tasks=["esc50"]))
mistake(E, "nothing to evaluate on")(lambda p: evaluated(p, TINY))
mistake(E, "sound without labels, and no teacher to compare with")(lambda p: evaluated(p, TINY, sounds=p.folder))
mistake(E, "seeds of 0")(lambda p: evaluated(p, TINY, tasks=["esc50"], seeds=0))
mistake(E, "a model that is not there")(
    lambda p: evaluated(p, p.folder / "gone", teacher=str(TINY), sounds=p.wav("a.wav").parent)
)
mistake(E, "labelled sound with one label")(
    lambda p: evaluated(p, TINY, tasks=[str(p.wav("sounds/a/1.wav").parents[1])])
)
mistake(E, "a teacher that is embeddings by id", "sklearn")(
    lambda p: evaluated(p, f"precomputed:{p.table(np.zeros((2, 3)))}", teacher=str(TINY), sounds=p.wav("a.wav").parent)
)
mistake(E, "something to vary without values", "torch")(lambda p: varied(p, "loss"))
mistake(E, "an entry to vary that is none", "torch")(lambda p: varied(p, "los=cosine"))
mistake(E, "a value that the entry cannot have", "torch")(lambda p: varied(p, "loss=cosine,kll"))
mistake(E, "a value twice", "torch")(lambda p: varied(p, "loss=cosine,cosine"))
mistake(E, "an entry to vary twice", "torch")(lambda p: varied(p, "loss=cosine", "loss=kl"))
mistake(E, "a window of 0 s for temporal support")(
    lambda p: p.command("support", TINY, "--tasks", "a", "--window-lengths", "0")
)
mistake(E, "windows that are not numbers")(
    lambda p: p.command("support", TINY, "--tasks", "a", "--window-lengths", "a,b")
)
mistake(E, "a report of a folder that holds nothing of ours")(reported)
mistake(E, "a report of results that break off")(lambda p: (p.file("results.json", '{"format": "sond'), reported(p)))
mistake(E, "a report of results of another program")(lambda p: (p.file("results.json", "{}"), reported(p)))

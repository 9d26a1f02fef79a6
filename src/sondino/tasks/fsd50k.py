"""FSD50K, 200 sound events, several a clip (Fonseca and others 2020)."""

from collections.abc import Iterator
from pathlib import Path

from sondino.lists import SPLITS
from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect, first_there, read_columns
from sondino.tasks.task import Archive, Task

_TRUTH = ("FSD50K.ground_truth", "ground_truth")
_DEV = ("FSD50K.dev_audio", "dev_audio")
_EVAL = ("FSD50K.eval_audio", "eval_audio")
_PART = 3 << 30  # bytes of all parts of a split zip but the last


def _fsd50k_clips(folder: Path) -> Iterator[Clip]:
    truth = folder / first_there(folder, *_TRUTH)
    dev, evaluation = first_there(folder, *_DEV), first_there(folder, *_EVAL)
    for name, labels, split in read_columns(truth / "dev.csv", ("fname", "labels", "split")):
        yield Clip(f"dev/{name}", f"{dev}/{name}.wav", tuple(labels.split(",")), SPLITS.get(split, split))
    for name, labels in read_columns(truth / "eval.csv", ("fname", "labels")):
        yield Clip(f"eval/{name}", f"{evaluation}/{name}.wav", tuple(labels.split(",")), "test")


def _read_fsd50k(folder: Path) -> Labelled:
    return collect(FSD50K, folder, _fsd50k_clips(folder), "split")


def _archive(name: str, size: int, md5: str, unpacked: int = 0) -> Archive:
    return Archive(name, f"https://zenodo.org/records/4060432/files/{name}?download=1", size, f"md5:{md5}", unpacked)


FSD50K = Task(
    name="fsd50k",
    title="FSD50K",
    about="200 sound events, several a clip",
    domain="environment",
    clips=51_197,
    classes=200,
    multi_label=True,
    hours=108.3,
    licence="CC BY 4.0, some clips BY-NC",
    homepage="https://zenodo.org/records/4060432",
    folders=("FSD50K", "fsd50k"),
    marks=tuple(f"{folder}/dev.csv" for folder in _TRUTH),
    archives=(  # md5 as on Zenodo (in soundata's index too); bytes as three public download scripts state them
        _archive("FSD50K.ground_truth.zip", 334_701, "ca27382c195e37d2269c4c866dd73485", 50_000_000),
        _archive("FSD50K.dev_audio.z01", _PART, "faa7cf4cc076fc34a44a479a5ed862a3"),
        _archive("FSD50K.dev_audio.z02", _PART, "8f9b66153e68571164fb1315d00bc7bc"),
        _archive("FSD50K.dev_audio.z03", _PART, "1196ef47d267a993d30fa98af54b7159"),
        _archive("FSD50K.dev_audio.z04", _PART, "d088ac4e11ba53daf9f7574c11cccac9"),
        _archive("FSD50K.dev_audio.z05", _PART, "81356521aa159accd3c35de22da28c7f"),
        _archive("FSD50K.dev_audio.zip", 2_306_663_327, "c480d119b8f7a7e32fdb58f3ea4d6c5a", 32_000_000_000),
        _archive("FSD50K.eval_audio.z01", _PART, "3090670eaeecc013ca1ff84fe4442aeb"),
        _archive("FSD50K.eval_audio.zip", 3_037_675_767, "6fa47636c3a3ad5c7dfeba99f2637982", 12_000_000_000),
    ),
    how="",
    read=_read_fsd50k,
)

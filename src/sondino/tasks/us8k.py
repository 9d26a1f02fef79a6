"""UrbanSound8K, 10 kinds of city sound in 10 given folds (Salamon, Jacoby and Bello 2014)."""

from collections.abc import Iterator
from pathlib import Path

from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect, first_there, read_columns
from sondino.tasks.task import Archive, Task

_LISTS = ("metadata/UrbanSound8K.csv", "UrbanSound8K.csv")


def _us8k_clips(folder: Path) -> Iterator[Clip]:
    inside = "" if (folder / "fold1").is_dir() else "audio/"
    columns = ("slice_file_name", "fsID", "fold", "class")
    for name, source, fold, label in read_columns(folder / first_there(folder, *_LISTS), columns):
        yield Clip(f"fold{fold}/{name}", f"{inside}fold{fold}/{name}", (label,), fold, source)


def _read_us8k(folder: Path) -> Labelled:
    return collect(US8K, folder, _us8k_clips(folder), "fold")


US8K = Task(
    name="us8k",
    title="UrbanSound8K",
    about="10 sounds of a city, up to 4 s",
    domain="environment",
    clips=8732,
    classes=10,
    multi_label=False,
    hours=8.75,
    licence="CC BY-NC 4.0",
    homepage="https://zenodo.org/records/1203745",
    folders=("UrbanSound8K", "urbansound8k", "us8k"),
    marks=_LISTS,
    archives=(
        Archive(  # md5 as on Zenodo (in soundata's index too); bytes as three public download scripts state them
            name="UrbanSound8K.tar.gz",
            url="https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",
            size=6_023_741_708,
            checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
            unpacked=10_000_000_000,
            strip=1,
        ),
    ),
    how="",
    read=_read_us8k,
)

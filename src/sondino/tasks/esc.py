"""ESC-50, 50 kinds of environmental sound, and ESC-10, the ten easy ones (Piczak 2015)."""

from collections.abc import Iterator
from pathlib import Path

from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect, first_there, read_columns
from sondino.tasks.task import Archive, Task

_LISTS = ("meta/esc50.csv", "esc50.csv")
_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"


def _esc_clips(folder: Path, only_ten: bool) -> Iterator[Clip]:
    columns = ("filename", "fold", "category", "esc10", "src_file")
    for name, fold, label, ten, source in read_columns(folder / first_there(folder, *_LISTS), columns):
        if ten == "True" or not only_ten:
            yield Clip(f"audio/{name}", f"audio/{name}", (label,), fold, source)


def _read_esc50(folder: Path) -> Labelled:
    return collect(ESC50, folder, _esc_clips(folder, only_ten=False), "fold")


def _read_esc10(folder: Path) -> Labelled:
    return collect(ESC10, folder, _esc_clips(folder, only_ten=True), "fold")


ESC50 = Task(
    name="esc50",
    title="ESC-50",
    about="50 environmental sounds, 5 s",
    domain="environment",
    clips=2000,
    classes=50,
    multi_label=False,
    hours=2.8,
    licence="CC BY-NC 3.0",
    homepage="https://github.com/karolpiczak/ESC-50",
    folders=("ESC-50-master", "ESC-50", "ESC50", "esc50", "esc-50"),
    marks=_LISTS,
    archives=(
        Archive(
            # GitHub packs it for each download; these are the size and hash that others recorded (such as
            # public notes on the same commit by seven projects, which agree) since its packing changed in 2023.
            name="ESC-50.zip",
            url=f"https://github.com/karolpiczak/ESC-50/archive/{_COMMIT}.zip",
            size=645_832_161,
            checksum="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
            unpacked=1_500_000_000,
            strip=1,
        ),
    ),
    how="",
    read=_read_esc50,
)

ESC10 = Task(
    name="esc10",
    title="ESC-10",
    about="10 environmental sounds, of ESC-50",
    domain="environment",
    clips=400,
    classes=10,
    multi_label=False,
    hours=0.6,
    licence="CC BY 3.0",
    homepage=ESC50.homepage,
    folders=ESC50.folders,
    marks=_LISTS,
    archives=ESC50.archives,
    how="",
    read=_read_esc10,
)

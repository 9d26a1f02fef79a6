"""MagnaTagATune, the 50 commonest of 188 tags, several a clip (Law and others 2009)."""

import re
from collections.abc import Iterator
from pathlib import Path

from sondino.errors import OptionError
from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect, read_table
from sondino.tasks.task import Task

_LIST = "annotations_final.csv"
TAGS = 50
_VALID, _TEST = "c", "def"  # of the sixteen folders 0 to f; the others are train
_TIMES = re.compile(r"-\d+-\d+\.mp3$")  # where in its track a clip begins and ends, in seconds


def _mtt_clips(folder: Path) -> Iterator[Clip]:
    header, rows = read_table(folder / _LIST, "\t")
    if header[:1] != ["clip_id"] or header[-1:] != ["mp3_path"]:
        raise OptionError(f"{folder / _LIST} has no columns clip_id and mp3_path: it is not the published list")
    tags = header[1:-1]
    listed = [(row[-1], [place for place, mark in enumerate(row[1:-1]) if mark == "1"]) for row in rows]
    counts = [0] * len(tags)
    for _, marked in listed:
        for place in marked:
            counts[place] += 1
    common = set(sorted(range(len(tags)), key=lambda place: -counts[place])[:TAGS])
    inside = next((name for name in ("mp3/", "audio/", "MagnaTagATune/") if (folder / name / "0").is_dir()), "")
    for name, marked in listed:
        part = "valid" if name[0] in _VALID else "test" if name[0] in _TEST else "train"
        labels = tuple(tags[place] for place in marked if place in common)
        yield Clip(name, inside + name, labels, part, _TIMES.sub("", name))


def _read_mtt(folder: Path) -> Labelled:
    return collect(MTT, folder, _mtt_clips(folder), "split", look=True)


MTT = Task(
    name="mtt",
    title="MagnaTagATune",
    about="50 tags of music, several a clip",
    domain="music",
    clips=25_860,  # of 25,863; three are published without content
    classes=TAGS,
    multi_label=True,
    hours=209.0,
    licence="CC BY-NC-SA",
    homepage="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
    folders=("MagnaTagATune", "magnatagatune", "mtt", "MTT", "MTAT"),
    marks=(_LIST,),
    archives=(),
    how="no checksum of its files is published, so they cannot be verified: download annotations_final.csv and "
    "mp3.zip.001 to mp3.zip.003 from https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset, join the parts "
    "(cat mp3.zip.00? > mp3.zip), and unpack them so that ROOT/MagnaTagATune/mp3/0 to f lie beside the list",
    read=_read_mtt,
)

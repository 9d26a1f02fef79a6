"""NSynth, 11 families of instruments, single notes; no instrument is in both train and test (Engel 2017)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sondino.errors import OptionError
from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect
from sondino.tasks.task import Archive, Task

_SPLITS = ("train", "valid", "test")


def _note(entry: dict[str, Any]) -> Any:
    """What is kept of a note, so that 300,000 of them are small; the list of notes itself stays as it is."""
    if "instrument_family_str" in entry:
        return entry["instrument_family_str"], entry.get("instrument_str", "")
    return entry


def _nsynth_clips(folder: Path) -> Iterator[Clip]:
    for split in _SPLITS:
        file = folder / f"nsynth-{split}" / "examples.json"
        if not file.exists():
            continue  # a user may leave one out for a smaller set; the count shows it
        try:
            with file.open(encoding="utf-8") as opened:
                notes = json.load(opened, object_hook=_note)
            for name, (family, instrument) in notes.items():
                yield Clip(
                    f"{split}/{name}", f"nsynth-{split}/audio/{name}.wav", (family,), split, instrument or name[:-8]
                )
        except (OSError, AttributeError, TypeError, ValueError) as error:
            raise OptionError(f"{file} is damaged ({str(error)[:80]}): unpack the data set again") from error


def _read_nsynth(folder: Path) -> Labelled:
    return collect(NSYNTH, folder, _nsynth_clips(folder), "split")


def _archive(split: str, size: int, md5: str, unpacked: int) -> Archive:
    # The host that the homepage names, download.magenta.tensorflow.org, is this folder without a certificate.
    name = f"nsynth-{split}.jsonwav.tar.gz"
    url = f"https://storage.googleapis.com/download.magenta.tensorflow.org/datasets/nsynth/{name}"
    return Archive(name, url, size, f"md5:{md5}", unpacked)


NSYNTH = Task(
    name="nsynth",
    title="NSynth instrument family",
    about="11 families of instruments, 4 s",
    domain="music",
    clips=305_979,
    classes=11,
    multi_label=False,
    hours=340.0,
    licence="CC BY 4.0",
    homepage="https://magenta.tensorflow.org/datasets/nsynth",
    folders=("nsynth", "NSynth"),
    marks=tuple(f"nsynth-{split}/examples.json" for split in _SPLITS),
    archives=(  # md5 as in the HEAR benchmark's task nsynth_pitch; bytes as public records of downloads state them
        _archive("test", 349_501_546, "5e6f8719bf7e16ad0a00d518b78af77d", 800_000_000),
        _archive("valid", 1_068_767_009, "87e94a00a19b6dbc99cf6d4c0c0cae87", 2_500_000_000),
        _archive("train", 23_815_298_079, "fde6665a93865503ba598b9fac388660", 50_000_000_000),
    ),
    how="",
    read=_read_nsynth,
)

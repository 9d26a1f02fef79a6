"""OpenMIC-2018, 20 instruments in 10 s of music; of each clip some are known (Humphrey and others 2018)."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sondino.errors import OptionError
from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect, read_columns
from sondino.tasks.task import Archive, Task

_LABELS = "openmic-2018-aggregated-labels.csv"
PRESENT = 0.5
"""Relevance from which an instrument counts as there, as in the data set's own baseline."""


def _openmic_clips(folder: Path) -> Iterator[Clip]:
    # The .npz beside it holds the same and could only be read by unpickling.
    file = folder / _LABELS
    relevance: dict[str, dict[str, float]] = defaultdict(dict)
    for key, instrument, number in read_columns(file, ("sample_key", "instrument", "relevance")):
        try:
            relevance[key][instrument] = float(number)
        except ValueError:
            raise OptionError(f"{file}: the relevance of {instrument} in {key} is {number!r}: fetch it again") from None
    for split in ("train", "test"):
        for key in _keys(folder / "partitions" / f"split01_{split}.csv"):
            known = relevance.get(key, {})
            present = tuple(name for name, share in known.items() if share >= PRESENT)
            # The part before the underscore is the track that the clip was cut from.
            yield Clip(key, f"audio/{key[:3]}/{key}.ogg", present, split, key.partition("_")[0], tuple(known))


def _keys(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{file} cannot be read ({error}): unpack the data set again") from error


def _read_openmic(folder: Path) -> Labelled:
    return collect(OPENMIC, folder, _openmic_clips(folder), "split")


OPENMIC = Task(
    name="openmic",
    title="OpenMIC-2018",
    about="20 instruments in music, 10 s",
    domain="music",
    clips=20_000,
    classes=20,
    multi_label=True,
    hours=55.6,
    licence="CC BY 4.0, each clip its own",
    homepage="https://zenodo.org/records/1432913",
    folders=("openmic-2018", "OpenMIC-2018", "openmic", "OpenMIC"),
    marks=(_LABELS,),
    archives=(
        Archive(  # md5 as on Zenodo (ten public scripts agree); bytes as one public record of a download states them
            name="openmic-2018-v1.0.0.tgz",
            url="https://zenodo.org/records/1432913/files/openmic-2018-v1.0.0.tgz?download=1",
            size=2_623_376_754,
            checksum="md5:e4ccf187e2bb5ab2e115416e8aafe7f4",
            unpacked=5_000_000_000,
            strip=1,
        ),
    ),
    how="",
    read=_read_openmic,
)

"""TAU Urban Acoustic Scenes 2020 Mobile, 10 places in a city by 9 devices: the development set (Heittola 2020)."""

from collections.abc import Iterator
from pathlib import Path

from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect, read_columns
from sondino.tasks.task import Archive, Task

_NAME = "TAU-urban-acoustic-scenes-2020-mobile-development"
_AUDIO = (  # bytes and md5 of the sixteen archives, as in the DCASE challenge's own dcase_util
    (1_726_039_031, "b1e85b8a908d3d6a6ab73268f385d5c8"),
    (1_782_268_370, "4310a13cc2943d6ce3f70eba7ba4c784"),
    (1_870_468_865, "ed38956c4246abb56190c1e9b602b7b8"),
    (1_879_413_176, "97ab8560056b6816808dedc044dcc023"),
    (1_823_936_584, "b50f5e0bfed33cd8e52cb3e7f815c6cb"),
    (1_827_246_144, "fbf856a3a86fff7520549c899dc94372"),
    (1_728_630_243, "0dbffe7b6e45564da649378723284062"),
    (1_748_646_043, "bb6f77832bf0bd9f786f965beb251b2e"),
    (1_780_487_215, "a65596a5372eab10c78e08a0de797c9e"),
    (1_726_068_853, "2ad595819ffa1d56d2de4c7ed43205a6"),
    (1_744_480_272, "0ad29f7040a4e6a22cfd639b3a6738e5"),
    (1_738_707_195, "e5f4400c6b9697295fab4cf507155a2f"),
    (1_835_797_785, "8855ab9f9896422746ab4c5d89d8da2f"),
    (1_846_390_881, "092ad744452cd3e7de78f988a3d13020"),
    (1_869_032_508, "4b5eb85f6592aebf846088d9df76b420"),
    (436_971_777, "2e0a89723e58a3836be019e6996ae460"),
)


def _tau2020_clips(folder: Path) -> Iterator[Clip]:
    # Several devices and cuts of one place share its identifier, such as barcelona-203.
    listed = read_columns(folder / "meta.csv", ("filename", "identifier"), "\t")
    places = {row[0]: row[1] for row in listed}
    for split, name in (("train", "train"), ("test", "evaluate")):
        file = folder / "evaluation_setup" / f"fold1_{name}.csv"
        for path, scene in read_columns(file, ("filename", "scene_label"), "\t"):
            yield Clip(path, path, (scene,), split, places.get(path, ""))


def _read_tau2020(folder: Path) -> Labelled:
    return collect(TAU2020, folder, _tau2020_clips(folder), "split")


def _archive(part: str, size: int, md5: str, unpacked: int) -> Archive:
    name = f"{_NAME}.{part}.zip"
    url = f"https://zenodo.org/records/3819968/files/{name}?download=1"
    return Archive(name, url, size, f"md5:{md5}", unpacked, strip=1)


TAU2020 = Task(
    name="tau2020",
    title="TAU Urban Acoustic Scenes 2020 Mobile",
    about="10 places in a city, 9 devices, 10 s",
    domain="environment",
    clips=16_935,  # of 23,040; the given split leaves out the others
    classes=10,
    multi_label=False,
    hours=47.0,
    licence="its own, non-commercial",
    homepage="https://zenodo.org/records/3819968",
    folders=(_NAME, "tau2020", "TAU2020"),
    marks=("evaluation_setup/fold1_train.csv",),
    archives=(
        _archive("meta", 214_159, "6eae9db553ce48e4ea246e34e50a3cf5", 50_000_000),
        *(_archive(f"audio.{number}", *facts, 4_000_000_000) for number, facts in enumerate(_AUDIO, 1)),
    ),
    how="",
    read=_read_tau2020,
)

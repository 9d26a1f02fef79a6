"""AudioSet's labels joined to sound in tars, Parquet and HDF5 files by the ids in its names."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from helpers.corpora import RATE, noise, write
from sondino.cli.audioset import find, subset
from sondino.cli.distilling import corpus as corpus_command
from sondino.corpus.relabel import relabel
from sondino.corpus.sources import list_audio
from sondino.corpus.table import build_corpus, open_corpus
from sondino.encoder.audioset import audioset_classes
from sondino.errors import AudioError, OptionError
from sondino.files import unreadable
from sondino.tasks.audioset.labels import labels_by_id
from sondino.tasks.audioset.metadata import read_metadata

pa = pytest.importorskip("pyarrow")
h5py = pytest.importorskip("h5py", reason="the hdf5 extra is not installed")
import pyarrow.parquet as pq

SPEECH, DOG = "/m/09x0r", "/m/0bt9lr"
KINDS = ("tar", "parquet", "hdf5", "files")
IDS = {kind: [f"-{kind:_<8}_{n}"[:11] for n in range(3)] for kind in KINDS}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Of each layout's three clips the first trains, the second is of the evaluation set, the third is in no list."""
    folder = tmp_path / "metadata"
    folder.mkdir()
    rows = [f'{IDS[kind][0]}, 30.000, 40.000, "{SPEECH},{DOG}"\n' for kind in KINDS]
    (folder / "balanced_train_segments.csv").write_text("".join(rows))
    (folder / "eval_segments.csv").write_text("".join(f'{IDS[kind][1]}, 0.000, 10.000, "{DOG}"\n' for kind in KINDS))
    return folder


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A tar, a Parquet and an HDF5 file with three clips each, and three files, with labels that are not AudioSet's."""
    folder = tmp_path / "sound"
    folder.mkdir()
    sounds = {name: noise(0.2, n) for n, name in enumerate(name for kind in KINDS for name in IDS[kind])}
    loose = {name: write(tmp_path / "loose" / f"{name}.wav", wave) for name, wave in sounds.items()}
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name in IDS["tar"]:
            tar.add(loose[name], f"x/{name}_30.000_40.000.wav")
            note = tmp_path / "note.json"
            note.write_text(json.dumps({"label": "wrong"}))
            tar.add(note, f"x/{name}_30.000_40.000.json")
    cells = [{"bytes": loose[name].read_bytes(), "path": None} for name in IDS["parquet"]]
    pq.write_table(pa.table({"video_id": IDS["parquet"], "audio": cells}), folder / "b.parquet")
    with h5py.File(folder / "c.h5", "w") as out:
        out["audio_name"] = np.array([f"Y{name}.wav" for name in IDS["hdf5"]], "S20")
        out["waveform"] = np.stack([sounds[name] for name in IDS["hdf5"]]).astype(np.float32)
        out["target"] = np.zeros((3, 527), bool)
        out.attrs["sample_rate"] = RATE
    (folder / "d").mkdir()
    for name in IDS["files"]:
        loose[name].rename(folder / "d" / f"{name}.wav")
    return folder


def test_every_layout_gets_labels_and_parts(archives: Path, lists: Path, tmp_path: Path) -> None:
    found = build_corpus(archives, tmp_path / "out", labels_of=labels_by_id(read_metadata(lists)))
    given = zip(found.ids(), found.column("label"), found.column("split"), strict=True)
    both = "Speech;Dog"
    assert {name: (label, split) for name, label, split in given} == {
        f"d/{IDS['files'][0]}.wav": (both, "train"),
        f"d/{IDS['files'][1]}.wav": ("Dog", "test"),
        f"a.tar/x/{IDS['tar'][0]}_30.000_40.000.wav": (both, "train"),
        f"a.tar/x/{IDS['tar'][1]}_30.000_40.000.wav": ("Dog", "test"),
        IDS["parquet"][0]: (both, "train"),
        IDS["parquet"][1]: ("Dog", "test"),
        f"Y{IDS['hdf5'][0]}.wav": (both, "train"),
        f"Y{IDS['hdf5'][1]}.wav": ("Dog", "test"),
    }
    assert found.labels().multi_label and found.labels().names == ("Dog", "Speech")
    assert [reason for _, reason in found.skipped] == ["not in the lists: no segment has its id"] * 4
    assert unreadable(found.skipped) == 0  # they are not wanted, and no fault


def test_labels_may_come_later_and_targets_stay(archives: Path, lists: Path, tmp_path: Path) -> None:
    for name in IDS["files"]:
        (archives / "d" / f"{name}.wav").unlink()
    (lists / "rest_segments.csv").write_text("".join(f'{IDS[kind][2]}, 0.0, 9.0, "{DOG}"\n' for kind in KINDS))
    plain = build_corpus(archives, tmp_path / "out")
    assert list(plain.column("label")) == ["wrong"] * 3 + [None] * 6
    named = build_corpus(archives, tmp_path / "out", labels_of=labels_by_id(read_metadata(lists)))
    assert (
        named.hash == plain.hash
        and list(open_corpus(tmp_path / "out").column("label")) == ["Speech;Dog", "Dog", "Dog"] * 3
    )


def test_what_is_not_known_is_a_line_for_each_archive(archives: Path, lists: Path) -> None:
    (lists / "eval_segments.csv").unlink()
    listing = relabel(list_audio(archives), labels_by_id(read_metadata(lists)))
    assert len(listing.entries) == 4
    assert sorted(reason.rpartition(" and ")[2] for _, reason in listing.skipped) == [
        "1 more of a.tar", "1 more of b.parquet", "1 more of c.h5", "1 more of d"]  # fmt: skip
    (lists / "balanced_train_segments.csv").write_text(f'ZZZZZZZZZZZ, 0.000, 10.000, "{DOG}"\n')
    with pytest.raises(AudioError, match="no name of the 12 sounds has an id that the lists have"):
        relabel(list_audio(archives), labels_by_id(read_metadata(lists)))


def test_a_second_copy_is_left_out_whatever_its_bytes(archives: Path, lists: Path) -> None:
    name = IDS["parquet"][0]
    again = pa.table({"ytid": [name], "audio": [{"bytes": b"other bytes", "path": None}]})
    pq.write_table(again, archives / "z.parquet")
    listing = relabel(list_audio(archives), labels_by_id(read_metadata(lists)))
    assert ("z.parquet:0", "duplicate of b.parquet:0, by its id") in listing.skipped
    assert len(listing.entries) == 8


def test_targets_of_as_many_classes_as_audioset_has_get_its_names(tmp_path: Path) -> None:
    target = np.zeros((2, 527), np.float32)
    target[0, [0, 526]] = target[1, 137] = 1
    with h5py.File(tmp_path / "x.h5", "w") as out:
        out["audio_name"] = np.array(["Ya.wav", "Yb.wav"], "S20")
        out["waveform"] = np.stack([noise(0.2, 0), noise(0.2, 1)]).astype(np.float32)
        out["target"] = target
        out.attrs["sample_rate"] = RATE
    names = audioset_classes()
    labels = list(build_corpus(tmp_path / "x.h5", tmp_path / "out").column("label"))
    assert labels == ["Speech;Field recording", names[137]] and len(names) == 527


def test_the_commands(archives: Path, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find(lists, audio=archives, quiet=True) == 0
    assert f"archives get labels by `sondino corpus {archives} --audioset {lists}" in capsys.readouterr().out
    missing = tmp_path / "missing.csv"
    assert find(lists, audio=archives, missing=missing, quiet=True) == 0
    assert f"no segment is missing: {missing} is not written" in capsys.readouterr().out and not missing.exists()
    for name in IDS["files"]:
        (archives / "d" / f"{name}.wav").unlink()
    with pytest.raises(OptionError, match="lie in archives"):
        find(lists, audio=archives, missing=missing, out=tmp_path / "list.csv", quiet=True)
    assert IDS["files"][0] in missing.read_text()
    chosen = tmp_path / "elsewhere" / "chosen.csv"  # where no file has names of labels
    assert subset(lists, out=chosen, audio=archives, clips=2, quiet=True) == 0
    assert f"`sondino corpus {archives} --audioset {chosen}" in capsys.readouterr().out
    assert corpus_command(str(archives), out=tmp_path / "corpus", audioset=chosen) == 0
    found = open_corpus(tmp_path / "corpus")
    assert len(found) == 2 and set(found.column("label")) == {"Speech;Dog"} and set(found.column("split")) == {"train"}

"""Data sets in their published layouts: labels, parts, what is known, which clips are of one recording, what lacks."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from helpers.loudness import write_loudness
from helpers.tasks_layouts import LAYOUTS, put, table, write_layout
from sondino.errors import AudioError, OptionError
from sondino.tasks.gtzan import FILTERED, numbers
from sondino.tasks.labelled import Labelled
from sondino.tasks.ravdess import FOLDS
from sondino.tasks.registry import TASKS, find_task, read_tasks
from sondino.tasks.splits import make_splits


def read(name: str, root: Path) -> Labelled:
    write_layout(name, root)
    ((task, labelled),) = read_tasks([name], root)
    assert task == TASKS[name]
    return labelled


def sides(labelled: Labelled) -> dict[str, set[str]]:
    """The sources of each fold."""
    found: dict[str, set[str]] = {}
    for clip in labelled.clips:
        found.setdefault(clip.fold, set()).add(clip.source)
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_task_has_splits_and_counts_what_is_there(name: str, tmp_path: Path) -> None:
    task, found = TASKS[name], read(name, tmp_path)
    assert found.notes[0] == f"{len(found.clips)} of {task.clips} clips of {task.title} are there"
    assert found.multi_label == task.multi_label and (task.metric == "mAP") == task.multi_label
    assert all(Path(clip.path).is_file() for clip in found.clips)
    assert len({clip.path for clip in found.clips}) == len({clip.id for clip in found.clips}) == len(found.clips)
    rounds, on = make_splits(found, 0)
    assert on.startswith("the list's")
    for each in rounds:
        assert each.train.any() and each.valid.any() and each.test.any()
    split = {"fsd50k", "gtzan", "openmic", "nsynth", "mtt", "tau2020"}
    assert found.split_kind == ("split" if name in split else "fold")


def test_esc50_and_its_ten(tmp_path: Path) -> None:
    found = read("esc50", tmp_path)
    assert found.labels == ("dog", "hen", "rain") and Counter(found.folds().tolist()) == dict.fromkeys("12345", 6)
    assert found.clips[0].id == "audio/1-1-A-0.wav" and found.clips[0].source == found.clips[1].source == "1"
    assert len(found.notes) == 1 and not found.skipped
    ((_, ten),) = read_tasks(["esc10"], tmp_path)
    assert ten.labels == ("dog", "rain") and len(ten.clips) == 20
    assert [task.name for task, _ in read_tasks(["all"], tmp_path)] == ["esc50", "esc10"]


def test_a_recording_in_two_folds_is_reported_and_kept_as_published(tmp_path: Path) -> None:
    folder = write_layout("esc50", tmp_path)
    file = folder / "meta" / "esc50.csv"
    rows = list(csv.reader(file.read_text().splitlines()))
    rows[3][5] = rows[1][5]  # as four recordings of the real one
    table(file, rows[0], rows[1:])
    ((_, found),) = read_tasks(["esc50"], tmp_path)
    assert len(found.clips) == 30
    (_, note) = found.notes
    assert note.startswith(
        "1 recording lies in more than one fold (such as audio/1-1-A-0.wav and audio/1-1-B-0.wav), as"
    )


def test_urbansound8k_keeps_its_ten_folds(tmp_path: Path) -> None:
    found = read("us8k", tmp_path)
    assert found.labels == ("drilling", "siren")
    assert Counter(found.folds().tolist()) == {str(fold): 4 for fold in range(1, 11)}
    assert len(np.unique(found.sources())) == 20 and found.clips[0].source == "100"
    assert len(make_splits(found, 0)[0]) == 10


def test_fsd50k_has_several_labels_and_asks_the_eval_clips(tmp_path: Path) -> None:
    found = read("fsd50k", tmp_path)
    assert found.labels == ("Animal", "Dog", "Rain") and found.clips[0].labels == ("Dog", "Animal")
    assert Counter(found.folds().tolist()) == {"train": 12, "valid": 4, "test": 6}
    assert [clip.fold for clip in found.clips if clip.id.startswith("eval/")] == ["test"] * 6
    assert found.targets().sum(0).tolist() == [15, 8, 7] and found.known().all()


def test_gtzan_is_the_fault_filtered_split(tmp_path: Path) -> None:
    lists = {split: [(g, n) for g, s in genres.items() for n in numbers(s)] for split, genres in FILTERED.items()}
    assert {split: len(names) for split, names in lists.items()} == {"train": 443, "valid": 197, "test": 290}
    assert len({name for names in lists.values() for name in names}) == TASKS["gtzan"].clips == 930
    # what torchaudio and the authors have: the first, the last, and two that were left out
    assert ("blues", 29) in lists["train"] and ("rock", 99) in lists["train"] and ("jazz", 54) in lists["train"]
    assert ("blues", 12) in lists["test"] and ("rock", 90) in lists["test"] and ("rock", 38) in lists["valid"]
    assert not any(("reggae", 86) in names or ("hiphop", 39) in names for names in lists.values())
    found = read("gtzan", tmp_path)
    assert len(found.labels) == 10 and Counter(found.folds().tolist()) == {"train": 20, "valid": 20, "test": 20}
    assert len(found.skipped) == 870 and "reggae/reggae.00086.wav" not in {clip.id for clip in found.clips}
    assert found.skipped[0] == (
        str(tmp_path / "GTZAN/genres/blues/blues.00031.wav"),
        "is listed by GTZAN and not there",
    )


@pytest.mark.parametrize(("inside", "suffix"), [("genres", ".au"), ("Data/genres_original", ".wav"), ("", ".mp3")])
def test_gtzan_lies_in_several_ways(inside: str, suffix: str, tmp_path: Path) -> None:
    folder = write_layout("gtzan", tmp_path / "first")
    for file in (folder / "genres").glob("*/*.wav"):
        target = tmp_path / "gtzan" / inside / file.parent.name / file.with_suffix(suffix).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    if suffix == ".mp3":  # as nobody publishes it: the folder of a genre is not enough to go by
        assert find_task(TASKS["gtzan"], tmp_path) is None
        found = TASKS["gtzan"].read(tmp_path / "gtzan")
    else:
        ((_, found),) = read_tasks(["gtzan"], tmp_path)
    assert len(found.clips) == 60 and found.clips[0].path.endswith(suffix)


def test_openmic_knows_of_some_instruments_only(tmp_path: Path) -> None:
    found = read("openmic", tmp_path)
    assert found.labels == ("cello", "drums", "flute") and Counter(found.folds().tolist()) == {"train": 10, "test": 6}
    assert found.clips[0].labels == ("cello",) and found.clips[0].known == ("cello", "drums")
    assert found.clips[1].labels == ("drums",)  # at 0.5; the others are at 0.4999
    assert found.known().sum(1).tolist() == [2] * 16 and found.targets().sum(1).tolist() == [1] * 16
    assert found.known()[0].tolist() == [True, True, False] and not (found.targets() & ~found.known()).any()
    assert found.clips[0].source == found.clips[1].source == "000000"


def test_nsynth_asks_instruments_that_were_not_learnt(tmp_path: Path) -> None:
    found = read("nsynth", tmp_path)
    assert found.labels == ("bass", "synth_lead") and found.clips[0].source == "bass_acoustic_000"
    assert Counter(found.folds().tolist()) == {"train": 8, "valid": 4, "test": 4}
    assert not sides(found)["train"] & sides(found)["test"]
    # its authors keep instruments of train to themselves, and share the others between valid and test
    assert found.notes[1].startswith("2 recordings lie in more than one split (such as valid/bass_acoustic_002-065-100")
    (tmp_path / "nsynth" / "nsynth-valid" / "examples.json").unlink()
    ((_, smaller),) = read_tasks(["nsynth"], tmp_path)
    assert Counter(smaller.folds().tolist()) == {"train": 8, "test": 4}


def test_magnatagatune_takes_the_commonest_tags(tmp_path: Path) -> None:
    found = read("mtt", tmp_path)
    assert found.labels == tuple(f"tag {i:02d}" for i in range(50))
    assert Counter(found.folds().tolist()) == {"train": 24, "valid": 2, "test": 6}
    assert {clip.id[0] for clip in found.clips if clip.fold == "test"} == set("def")
    assert {clip.id[0] for clip in found.clips if clip.fold == "valid"} == {"c"}
    assert found.clips[0].source == found.clips[1].source == "0/artist-album-00-song"
    assert len(np.unique(found.sources())) == 16
    assert found.skipped == ((str(tmp_path / "MagnaTagATune/mp3/6/nothing-at-all-0-29.mp3"), "is empty"),)


def test_tau_2020_keeps_a_place_on_one_side(tmp_path: Path) -> None:
    found = read("tau2020", tmp_path)
    assert found.labels == ("airport", "tram") and Counter(found.folds().tolist()) == {"train": 12, "test": 4}
    assert found.clips[0].source == found.clips[1].source == "lyon-airport-0"
    assert not sides(found)["train"] & sides(found)["test"] and len(found.notes) == 1
    assert not any("-4-400-" in clip.id for clip in found.clips)  # which the setup names nowhere


def test_ravdess_keeps_an_actor_in_one_fold_and_leaves_songs_out(tmp_path: Path) -> None:
    assert sorted(actor for actors in FOLDS for actor in actors) == list(range(1, 25))
    found = read("ravdess", tmp_path)
    assert found.labels == ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
    assert Counter(found.folds().tolist()) == dict.fromkeys("01234", 60) and len(found.skipped) == 1440 - 300
    assert sides(found) == {
        "0": {"actor 2"}, "1": {"actor 3"}, "2": {"actor 10"}, "3": {"actor 8"}, "4": {"actor 1"}
    }  # fmt: skip
    assert found.targets().sum(0).tolist() == [40, 40, 40, 40, 40, 20, 40, 40]
    assert not any("/03-02-" in clip.id for clip in found.clips)
    (clip,) = (clip for clip in found.clips if clip.id == "Actor_10/03-01-06-02-02-01-10.wav")
    assert clip.labels == ("fearful",) and clip.fold == "2"


def test_a_data_set_may_lie_anywhere_usual_and_root_may_be_it(tmp_path: Path) -> None:
    folder = write_layout("us8k", tmp_path)
    task = TASKS["us8k"]
    assert find_task(task, tmp_path) == find_task(task, folder) == folder
    other = folder.rename(tmp_path / "us8k")
    assert find_task(task, tmp_path) == other and find_task(task, tmp_path / "nowhere") is None
    assert len(read_tasks(["us8k"], other)[0][1].clips) == 40
    for fold in (other / "audio").iterdir():  # as one mirror has it
        fold.rename(other / fold.name)
    (other / "metadata" / "UrbanSound8K.csv").rename(other / "UrbanSound8K.csv")
    assert len(read_tasks(["us8k"], tmp_path)[0][1].clips) == 40


def test_clips_that_are_not_there_are_listed(tmp_path: Path) -> None:
    folder = write_layout("fsd50k", tmp_path)
    (folder / "FSD50K.dev_audio" / "64000.wav").unlink()
    ((_, found),) = read_tasks(["fsd50k"], tmp_path)
    assert found.skipped == ((str(folder / "FSD50K.dev_audio/64000.wav"), "is listed by FSD50K and not there"),)
    assert found.notes == ("21 of 51197 clips of FSD50K are there",)
    shutil.rmtree(folder / "FSD50K.eval_audio")
    with pytest.raises(OptionError, match="holds nothing of the test part of FSD50K: unpack all of it"):
        read_tasks(["fsd50k"], tmp_path)
    shutil.rmtree(folder / "FSD50K.dev_audio")
    with pytest.raises(
        OptionError, match=r"has the lists of FSD50K and none of its 22 clips \(the first is .*64000.wav"
    ):
        read_tasks(["fsd50k"], tmp_path)


def test_one_fold_alone_is_refused(tmp_path: Path) -> None:
    folder = write_layout("ravdess", tmp_path)
    for actor in (3, 10, 8, 1):
        shutil.rmtree(folder / f"Actor_{actor:02d}")
    (folder / "Actor_01").mkdir()  # by which it is known
    with pytest.raises(OptionError, match="holds fold 0 alone of RAVDESS"):
        read_tasks(["ravdess"], tmp_path)


BROKEN = {
    "us8k": ("metadata/UrbanSound8K.csv", b"slice_file_name,fsID,fold\n", "lacks the column class"),
    "esc50": ("meta/esc50.csv", b'filename,fold,target,category,esc10,src_file,take\n"a\n', "is damaged"),
    "tau2020": ("meta.csv", b"filename\tidentifier\na\n", "breaks off or is damaged"),
    "fsd50k": ("FSD50K.ground_truth/eval.csv", b"\xff\xfe", "is damaged"),
    "nsynth": ("nsynth-train/examples.json", b'{"a": {"instrument_family_str": "bass"', "is damaged"),
    "mtt": ("annotations_final.csv", b"clip_id\ttag\n1\t1\n", "is not the published list"),
    "openmic": (
        "openmic-2018-aggregated-labels.csv",
        b"sample_key,instrument,relevance\n000000_3840,cello,much\n",
        "the relevance of cello in 000000_3840 is 'much'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_list_is_an_error_message(name: str, tmp_path: Path) -> None:
    folder = write_layout(name, tmp_path)
    file, content, message = BROKEN[name]
    (folder / file).write_bytes(content)
    with pytest.raises(OptionError, match=message) as caught:
        read_tasks([name], tmp_path)
    assert str(folder / file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_that_is_gone_is_an_error_message(tmp_path: Path) -> None:
    folder = write_layout("openmic", tmp_path)
    (folder / "partitions" / "split01_test.csv").unlink()
    with pytest.raises(OptionError, match=r"split01_test\.csv cannot be read"):
        read_tasks(["openmic"], tmp_path)
    folder = write_layout("tau2020", tmp_path)
    (folder / "meta.csv").unlink()
    with pytest.raises(OptionError, match=r"meta.csv cannot be read \(No such file"):
        read_tasks(["tau2020"], tmp_path)


def test_own_folders_and_lists_are_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_loudness(tmp_path / "my birds", clips=2, seconds=0.05)
    names = [str(file.relative_to(folder)) for file in sorted(folder.glob("*/*.wav"))]
    for file in (folder / "labels.csv", folder / "rare.csv"):
        table(file, ("path", "labels"), [(name, f"{Path(name).parent};sine") for name in names[1:]])
    monkeypatch.chdir(folder)
    given = [".", str(folder / "labels.csv"), str(folder / "rare.csv")]
    read = read_tasks(given)
    assert [task.name for task, _ in read] == ["my birds", "my birds-2", "rare"]
    assert [(task.domain, task.metric, task.clips, task.classes) for task, _ in read] == [
        ("own", "accuracy", 6, 3), ("own", "mAP", 5, 2), ("own", "mAP", 5, 2)
    ]  # fmt: skip
    assert read[0][0].hours is None and read[0][1].labels == ("loud", "middle", "quiet")
    assert len(read_tasks([".", "."])) == 1
    with pytest.raises(OptionError, match="has no subfolder with audio"):
        read_tasks([str(folder / "loud")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="no audio found"):
        read_tasks([str(tmp_path / "empty")])


def test_what_cannot_be_found_reports_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for names, message in (
        (["esc5"], "unknown task 'esc5': did you mean esc50 or esc10"),
        (["birds/mine"], "birds/mine: no such folder or list"),
        (["mine.csv"], "mine.csv: no such folder or list"),
        (["us8k"], r"UrbanSound8K is not under data \(looked for UrbanSound8K/metadata/UrbanSound8K.csv or .*: "
                   "sondino tasks --fetch us8k gets it, or give --data ROOT"),
        (["gtzan"], "GTZAN is not under data .*its archive .genres.tar.gz. is no longer"),
        (["all"], "no data set is under data: fetch one with sondino tasks --fetch, give --data ROOT"),
        ([], "no task is named"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=message):
            read_tasks(names)
    folder = write_layout("esc50", tmp_path)
    with pytest.raises(OptionError, match="is ESC-50 as it is published: --tasks esc50 --data "):
        read_tasks([str(folder)])
    monkeypatch.setenv("SONDINO_DATA", str(tmp_path))
    assert len(read_tasks(["esc50"])[0][1].clips) == 30


def test_a_clip_in_another_format_is_taken(tmp_path: Path) -> None:
    folder = write_layout("us8k", tmp_path)
    (folder / "audio/fold1/100-0-0-0.wav").unlink()
    put(folder, ["audio/fold1/100-0-0-0.flac"], 0.1, "FLAC")
    ((_, found),) = read_tasks(["us8k"], tmp_path)
    assert len(found.clips) == 40 and found.clips[0].path.endswith("fold1/100-0-0-0.flac")


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_facts_of_tasks_hang_together(task: object) -> None:
    task = TASKS[task.name]  # type: ignore[attr-defined]
    assert task.clips > task.classes > 1 and task.hours and task.homepage.startswith("http") and task.licence
    assert bool(task.archives) != bool(task.how)
    for archive in task.archives:
        kind, _, digest = archive.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[kind] and int(digest, 16) >= 0
        assert archive.url.startswith("https://") and archive.size > 0 and "/" not in archive.name
    assert len({archive.name for archive in task.archives}) == len({a.checksum for a in task.archives})


def test_a_list_of_four_hundred_clips_in_five_folds(tmp_path: Path) -> None:
    """ESC-10 as the benchmarks take it; benchmarks/esc10.py checks the same of the real one."""
    folder = tmp_path / "esc10"
    names = {f"audio/{fold}-{i}-{kind}.wav": (f"kind {kind}", fold)
             for fold in "12345" for kind in range(10) for i in range(8)}  # fmt: skip
    for i, name in enumerate(names):
        put(folder, [name], 0.1 + i / 500)  # a clip that is another's copy would be left out
    table(folder / "labels.csv", ("path", "label", "fold"), [(name, *about) for name, about in names.items()])
    ((task, found),) = read_tasks([str(folder / "labels.csv")])
    assert task.name == "esc10" and task.metric == "accuracy"
    assert len(found.clips) == 400 and len(found.labels) == 10 and not found.skipped and not found.notes
    assert found.targets().sum(0).tolist() == [40] * 10
    assert Counter(found.folds().tolist()) == dict.fromkeys("12345", 80)

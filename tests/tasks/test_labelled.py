"""Labelled sound: folders and lists, and a message for each thing that can be wrong with them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.loudness import loudness_rows, write_list, write_loudness
from helpers.skips import needs_posix
from sondino.errors import AudioError, OptionError
from sondino.tasks import labelled
from sondino.tasks.labelled import Clip, published, read_labelled
from sondino.tasks.splits import draw_folds, holdout, make_splits, unseen_labels


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    return write_loudness(tmp_path / "sounds", clips=4, seconds=0.05)


def touch(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_the_top_folder_is_the_label_and_deeper_ones_belong_to_it(sounds: Path) -> None:
    (sounds / "loud" / "deep" / "deeper").mkdir(parents=True)
    (sounds / "loud" / "0.wav").rename(sounds / "loud" / "deep" / "deeper" / "0.wav")
    touch(sounds / "stray.wav", b"RIFF")
    found = read_labelled(sounds)
    assert found.labels == ("loud", "middle", "quiet") and not found.multi_label and found.split_kind == "none"
    by_id = {clip.id: clip for clip in found.clips}
    assert by_id["loud/deep/deeper/0.wav"].labels == ("loud",) and len(by_id) == 12
    assert found.skipped == ((str(sounds / "stray.wav"), "lies in no label's folder"),)
    assert found.targets().shape == (12, 3) and found.targets().sum(0).tolist() == [4, 4, 4]


@needs_posix
def test_what_a_folder_or_a_list_lacks_is_named(sounds: Path) -> None:
    clips = [sounds / "loud" / f"{number}.wav" for number in range(3)]
    for clip in clips:
        clip.unlink()
    clips[0].symlink_to("../.git/annex/objects/aa/bb/SHA256E-s64044--0.wav")
    touch(clips[1], b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 64044\n")
    os.mkfifo(clips[2])
    reasons = {
        str(clips[0]): "a link of git-annex, whose content was not fetched: git annex get",
        str(clips[1]): "a Git LFS pointer, whose content was not fetched: git lfs pull",
        str(clips[2]): "a named pipe, not a file",
    }
    assert dict(read_labelled(sounds, fewest=1).skipped) == reasons
    rows = [
        {"path": name, "label": Path(name).parent.name} for name in [*reasons, *map(str, sounds.glob("[mq]*/*.wav"))]
    ]
    skipped = dict(read_labelled(sounds, write_list(sounds / "l.csv", rows)).skipped)
    assert skipped[str(clips[0])] == f"line 2 of l.csv: {reasons[str(clips[0])]}"
    assert skipped[str(clips[2])] == f"line 4 of l.csv: {reasons[str(clips[2])]}"


def test_a_list_may_be_parquet_and_give_ids(sounds: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = loudness_rows(sounds)
    columns = {"path": [row["path"] for row in rows], "label": [[row["label"], str(row["label"])[0]] for row in rows]}
    pq.write_table(pa.table({**columns, "id": [f"clip {number}" for number in range(12)]}), sounds / "l.parquet")
    found = read_labelled(sounds, sounds / "l.parquet")
    assert found.clips[0].labels == ("loud", "l") and [clip.id for clip in found.clips][:2] == ["clip 0", "clip 1"]


def test_paths_of_a_list_start_from_its_folder_or_from_the_audio(sounds: Path, tmp_path: Path) -> None:
    rows = loudness_rows(sounds)
    beside = write_list(sounds / "labels.csv", rows)
    elsewhere = write_list(tmp_path / "lists" / "labels.csv", rows)
    whole = write_list(tmp_path / "whole.csv", [{**row, "path": sounds / str(row["path"])} for row in rows])
    found = [read_labelled(sounds, file) for file in (beside, elsewhere, whole)] + [read_labelled(beside)]
    assert all([clip.labels for clip in each.clips] == [clip.labels for clip in found[0].clips] for each in found)
    assert all(Path(clip.path).is_file() for each in found for clip in each.clips)
    assert found[1].clips[0].id == "loud/0.wav"


def test_several_labels_of_a_clip(sounds: Path) -> None:
    rows = loudness_rows(sounds)
    for row in rows:
        row["labels"] = f" sine ; {row.pop('label')};" if "loud" in str(row["path"]) else row.pop("label")
    rows[-1]["labels"] = ""  # has none of them: a clip to learn from all the same
    found = read_labelled(sounds, write_list(sounds / "l.csv", rows))
    assert found.multi_label and found.labels == ("loud", "middle", "quiet", "sine")
    assert found.clips[0].labels == ("sine", "loud") and found.clips[-1].labels == ()
    assert found.targets().sum(0).tolist() == [4, 4, 3, 4]
    with pytest.raises(OptionError, match="has several labels"):
        read_labelled(sounds, sounds / "l.csv", "no")
    with pytest.raises(OptionError, match="both a column label and a column labels"):
        read_labelled(sounds, write_list(sounds / "both.csv", [{"path": "a", "label": "b", "labels": "c"}]))


def test_one_label_a_clip_can_be_meant_as_several(sounds: Path) -> None:
    assert read_labelled(sounds, multi_label="yes").multi_label
    assert not read_labelled(sounds, multi_label="no").multi_label


def test_folds_and_splits(sounds: Path) -> None:
    rows = loudness_rows(sounds)
    folds = [{**row, "fold": i % 4} for i, row in enumerate(rows)]
    found = read_labelled(sounds, write_list(sounds / "folds.csv", folds))
    assert found.split_kind == "fold" and found.folds().tolist() == [str(i % 4) for i in range(12)]
    names = ["train", "val", "validation", "test", "", "valid"]
    split = [{**row, "split": names[i % 6]} for i, row in enumerate(rows)]
    found = read_labelled(sounds, write_list(sounds / "split.csv", split))
    assert found.split_kind == "split"
    assert found.folds().tolist() == ["train", "valid", "valid", "test", "train", "valid"] * 2
    for row in split:
        row["split"] = "train"
    assert read_labelled(sounds, write_list(sounds / "train.csv", split)).split_kind == "none"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"split": "training-ish"}, r"line 3: split is 'training-ish': give train, valid or test"),
        ({"fold": ""}, "line 3: loud/1.wav has no fold"),
        ({"split": "test", "fold": "1"}, "both a column fold and a column split"),
    ],
)
def test_a_wrong_part_is_an_error_message(sounds: Path, row: dict[str, str], message: str) -> None:
    rows = [{**r, **dict.fromkeys(row, "test" if "split" in row else "1")} for r in loudness_rows(sounds)]
    rows[1].update(row)
    with pytest.raises(OptionError, match=message):
        read_labelled(sounds, write_list(sounds / "l.csv", rows))


def test_files_that_are_not_there_are_listed_and_stop_nothing(sounds: Path) -> None:
    rows = [*loudness_rows(sounds), {"path": "gone.wav", "label": "loud"}, {"path": "loud/0.wav", "label": "loud"}]
    rows[0]["label"] = ""
    found = read_labelled(sounds, write_list(sounds / "l.csv", rows[:-1]))
    assert len(found.clips) == 11
    assert dict(found.skipped) == {
        "gone.wav": "line 14 of l.csv: there is no such file",
        str(sounds / "loud/0.wav"): "has no label in the list",
    }
    with pytest.raises(OptionError, match=r"no file that exists; the first, x\.wav, was sought in .+: give"):
        read_labelled(sounds, write_list(sounds / "l.csv", [{"path": "x.wav", "label": "a"}]))


def test_a_file_listed_twice_must_agree_with_itself(sounds: Path) -> None:
    rows = loudness_rows(sounds)
    assert len(read_labelled(sounds, write_list(sounds / "l.csv", [*rows, rows[0]])).clips) == 12
    with pytest.raises(OptionError, match=r"line 14: loud/0.wav is listed twice and differs \(loud and quiet\)"):
        read_labelled(sounds, write_list(sounds / "l.csv", [*rows, {**rows[0], "label": "quiet"}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,label\na.wav,b\n", r"needs the columns path and label \(it has file, label\)"),
        (b"path;label\nloud/0.wav;loud\n", "with commas or tabs between"),
        (b"path\nloud/0.wav\n", "needs the columns path and label"),
        (b"", "it has none"),
        (b"path,label\n", r"has no rows below the names of its columns \(path, label\)"),
        (b"path,label\ngone.wav,x\n", "lists no file"),
        (b"path,label\nloud/0.wav,\xff\xfe\n", "no CSV in UTF-8"),
        (b'path,label\nloud/0.wav,"lo"ud\n', "no CSV in UTF-8"),
        (b"path,label\nloud/0.wav,loud\nloud/1.wav,loud\n", "only loud with 2 clips or more"),
        (b"path,label\nloud/0.wav,loud\nquiet/0.wav,quiet\n", r"none with 2 clips or more \(fewer: loud, quiet\)"),
        (b"path,label\nloud/0.wav,\nquiet/0.wav,\n", "no clip of .* has a label"),
    ],
)
def test_a_list_that_cannot_be_used_is_an_error_message(sounds: Path, content: bytes, message: str) -> None:
    file = touch(sounds / "l.csv", content)
    with pytest.raises(OptionError, match=message):
        read_labelled(sounds, file)


def test_a_list_may_begin_with_a_byte_order_mark(sounds: Path) -> None:
    lines = "".join(f"{row['path']},{row['label']}\r\n" for row in loudness_rows(sounds))
    file = touch(sounds / "l.csv", b"\xef\xbb\xbfpath,label\r\n" + lines.encode())
    assert len(read_labelled(sounds, file).clips) == 12


def test_what_is_no_labelled_sound_is_an_error_message(sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file or folder"):
        read_labelled(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="cannot be read"):
        read_labelled(sounds, tmp_path / "gone.csv")
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(sounds / "loud" / "0.wav", flat)
    with pytest.raises(OptionError, match="no subfolder with audio"):
        read_labelled(flat)
    for label in ("middle", "quiet"):
        shutil.rmtree(sounds / label)
    with pytest.raises(OptionError, match="only loud"):
        read_labelled(sounds)


def test_a_label_with_one_clip_is_left_out_by_name(sounds: Path) -> None:
    shutil.copytree(sounds / "loud", sounds / "rare")
    for number in (1, 2, 3):
        (sounds / "rare" / f"{number}.wav").unlink()
    touch(sounds / "rare" / "0.wav", (sounds / "rare" / "0.wav").read_bytes() + b"\0")
    found = read_labelled(sounds)
    assert found.labels == ("loud", "middle", "quiet") and len(found.clips) == 12
    assert found.notes == ("left out, with fewer than 2 recordings: rare",)


def test_a_label_that_every_clip_has_is_left_out_by_name(sounds: Path) -> None:
    rows = [{"path": row["path"], "labels": f"sine;{row['label']}"} for row in loudness_rows(sounds)]
    found = read_labelled(sounds, write_list(sounds / "l.csv", rows))
    assert found.labels == ("loud", "middle", "quiet") and found.notes == ("left out, since every clip has it: sine",)


def test_clips_that_cannot_be_decoded_can_take_their_label_with_them(sounds: Path) -> None:
    found = read_labelled(sounds)
    lost = {str(sounds / "loud" / f"{number}.wav"): "broken" for number in range(3)}
    left = found.without(lost)
    assert left.labels == ("middle", "quiet") and dict(left.skipped) == lost
    with pytest.raises(OptionError, match="only quiet"):
        left.without({clip.path: "broken" for clip in left.clips if clip.labels == ("middle",)})


def test_the_same_bytes_and_the_same_source_are_one_recording(sounds: Path) -> None:
    shutil.copy(sounds / "loud" / "0.wav", sounds / "loud" / "copy.wav")
    rows = [{**row, "source": "one night" if "quiet" in str(row["path"]) else ""} for row in loudness_rows(sounds)]
    found = read_labelled(sounds, write_list(sounds / "l.csv", [*rows[:-1], {**rows[-1], "source": "another"}]))
    source = dict(zip([clip.id for clip in found.clips], found.sources().tolist(), strict=True))
    assert source["loud/0.wav"] == source["loud/copy.wav"] != source["loud/1.wav"]
    assert source["quiet/0.wav"] == source["quiet/2.wav"] != source["quiet/3.wav"]
    assert len(set(source.values())) == 4 + 4 + 2


def test_a_recording_in_two_folds_is_reported(sounds: Path) -> None:
    shutil.copy(sounds / "loud" / "0.wav", sounds / "loud" / "copy.wav")
    rows = [{**row, "fold": i % 3} for i, row in enumerate(loudness_rows(sounds))]
    (note,) = read_labelled(sounds, write_list(sounds / "l.csv", rows)).notes
    assert note.startswith("1 recording lies in more than one fold (such as loud/0.wav and loud/copy.wav)")


def test_a_recording_that_cannot_be_read_to_its_end_is_no_copy(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(sounds / "loud" / "0.wav", sounds / "loud" / "copy.wav")

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(labelled.hashlib, "file_digest", failing)
    sources = dict(zip((clip.id for clip in read_labelled(sounds).clips), read_labelled(sounds).sources(), strict=True))
    assert sources["loud/0.wav"] != sources["loud/copy.wav"]


# ---- who learns, who is asked ---------------------------------------------------------------------------------


def with_columns(sounds: Path, **columns: object):
    """The labelled clips with columns, each a function of the row's number."""
    rows = [{**row, **{name: of(i) for name, of in columns.items()}} for i, row in enumerate(loudness_rows(sounds))]
    return read_labelled(sounds, write_list(sounds / "l.csv", rows))


def test_drawn_folds_spread_labels_and_keep_recordings_whole(tmp_path: Path) -> None:
    found = with_columns(write_loudness(tmp_path / "s", clips=10, seconds=0.05), source=lambda i: f"night {i // 2}")
    rounds, on = make_splits(found, seed=0)
    assert len(rounds) == 5 and on == "5 folds in turn, drawn by seed 0"
    assert np.sum([r.test for r in rounds], axis=0).tolist() == [1] * 30
    for r in rounds:
        assert found.targets()[r.test].sum(0).tolist() == [2, 2, 2]
        assert not (r.train & r.valid).any() and not (r.test & (r.train | r.valid)).any()
        sides = [set(found.sources()[mask].tolist()) for mask in (r.train, r.valid, r.test)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    other = make_splits(found, seed=1)[0]
    assert any((a.test != b.test).any() for a, b in zip(rounds, other, strict=True))


def test_few_recordings_make_fewer_folds(sounds: Path) -> None:
    found = with_columns(sounds, source=lambda i: f"night {i // 2}")  # two recordings a label
    assert len(np.unique(draw_folds(found.targets(), found.sources(), False, 0))) == 2


def test_two_clips_a_label_are_enough(tmp_path: Path) -> None:
    found = read_labelled(write_loudness(tmp_path / "s", clips=2, seconds=0.05))
    rounds, _ = make_splits(found, 0)
    assert len(rounds) == 2
    for r in rounds:
        assert r.train.any() and r.valid.any() and found.targets()[r.test].sum(0).tolist() == [1, 1, 1]
        assert (r.train.astype(int) + r.valid + r.test == 1).all()


def test_a_lists_folds_are_left_out_in_turn(sounds: Path) -> None:
    found = with_columns(sounds, fold=lambda i: i % 4)
    rounds, on = make_splits(found, 0)
    assert on == "the list's 4 folds in turn"
    assert [set(found.folds()[r.test]) for r in rounds] == [{"0"}, {"1"}, {"2"}, {"3"}]
    assert [set(found.folds()[r.valid]) for r in rounds] == [{"1"}, {"2"}, {"3"}, {"0"}]
    first, on = holdout(found, 0)
    assert set(found.folds()[first.valid]) == {"0"} and not first.test.any() and on == "fold 0 of the list"
    with pytest.raises(OptionError, match="one fold alone"):
        make_splits(with_columns(sounds, fold=lambda i: 1), 0)


def test_numbered_folds_are_in_the_order_of_numbers(sounds: Path) -> None:
    found = with_columns(sounds, fold=lambda i: (10, 9, 2)[i % 3])
    assert holdout(found, 0)[1] == "fold 2 of the list"


@pytest.mark.parametrize("missing", [None, "valid", "test"])
def test_a_lists_splits_are_kept_and_what_is_missing_is_drawn_from_train(sounds: Path, missing: str | None) -> None:
    names = ["train", "train", "valid", "test"]
    found = with_columns(sounds, split=lambda i: "train" if names[i % 4] == missing else names[i % 4])
    ((each,), on) = make_splits(found, 0)
    folds = found.folds()
    assert set(folds[each.train]) == {"train"}
    asked = "valid" if missing == "test" else "test"
    assert (each.test == (folds == asked)).all() and on == f"the list's {asked} clips"
    assert set(folds[each.valid]) == ({"valid"} if missing is None else {"train"}) and each.valid.any()
    held, _ = holdout(found, 0)
    assert (held.test == (folds == "test")).all() and held.valid.any()
    assert not (held.valid & held.test).any() and not (held.train & (held.valid | held.test)).any()


def test_a_label_that_is_scored_and_never_trained_on_is_reported(sounds: Path) -> None:
    found = with_columns(sounds, fold=lambda i: 1 if i < 4 else i % 2)
    (note,) = unseen_labels(found, make_splits(found, 0)[0])
    assert note.startswith("all clips of loud lie in one part")
    spread = with_columns(sounds, fold=lambda i: i % 2)
    assert unseen_labels(spread, make_splits(spread, 0)[0]) == ()


def test_what_is_known_of_a_clip() -> None:
    clips = [
        Clip("a", "a", ("dog",), "train", "s", ("dog", "cat")),
        Clip("b", "b", ("cat", "dog"), "test", "s"),
        Clip("c", "c", (), "test", "", ("cat",)),
        Clip("d", "d", ("cat",), "train"),
        Clip("f", "f", ("dog",), "train"),
    ]
    found = published(clips, "split", True, "Pets", [("e", "is gone")], ["one is gone"])
    assert found.labels == ("cat", "dog") and found.skipped == (("e", "is gone"),)
    assert found.targets().tolist() == [[False, True], [True, True], [False, False], [True, False], [False, True]]
    assert found.known().tolist() == [[True, True], [True, True], [True, False], [True, True], [True, True]]
    assert found.sources().tolist() == [3, 3, 0, 1, 2]
    assert found.folds().tolist() == ["train", "test", "test", "train", "train"]
    torn = "1 recording lies in more than one split (such as a and b), as Pets was published"
    assert found.notes == ("one is gone", torn)


def test_a_label_that_is_on_all_clips_of_which_it_is_known_is_left_out() -> None:
    known = ("dog", "cat")
    clips = [Clip(name, name, ("dog", "cat")[: 1 + n % 2], "1", "", known) for n, name in enumerate("abcd")]
    clips += [Clip(name, name, ("cat",), "2", "", ("cat",)) for name in "ef"]
    found = published(clips, "fold", True, "Pets")
    assert found.labels == ("cat",) and found.notes == ("left out, since every clip has it: dog",)
    assert found.targets().shape == found.known().shape == (6, 1) and not found.clips[0].labels


# ---- sound without a label ------------------------------------------------------------------------------------


def test_clips_without_a_label_are_a_class_that_is_no_label(sounds: Path) -> None:
    (sounds / "middle").rename(sounds / "Noise")
    shutil.copytree(sounds / "quiet", sounds / "background")
    (sounds / "background" / "0.wav").write_bytes(b"RIFF")
    found = read_labelled(sounds)
    assert found.labels == ("loud", "quiet", "background") and found.background == "background"
    assert found.targets().sum(0).tolist() == [4, 4, 8]
    assert found.notes == ("8 clips of Noise, background have no label; --background names what means that",)
    assert read_labelled(sounds, background=()).labels == ("Noise", "background", "loud", "quiet")
    other = read_labelled(sounds, background=("quiet",))
    assert other.labels == ("Noise", "loud", "background")
    assert other.notes[0].startswith("8 clips of background, quiet have no label")  # the class has the folder's name
    shutil.rmtree(sounds / "quiet")  # one label and none of it
    assert read_labelled(sounds).labels == ("loud", "background")
    with pytest.raises(OptionError, match="needs two labels"):
        read_labelled(sounds, background=("loud", "noise", "background"))


def test_a_clip_that_may_have_several_labels_has_none_of_them(sounds: Path) -> None:
    rows = loudness_rows(sounds)
    for row in rows:
        row["label"] = {"quiet": "noise", "loud": "loud;all;noise"}.get(row["label"], row["label"])
    found = read_labelled(sounds, write_list(sounds / "l.csv", rows))
    assert found.multi_label and found.labels == ("all", "loud", "middle") and not found.background
    assert len(found.clips) == 12 and found.targets().sum(0).tolist() == [4, 4, 4]
    assert sum(not clip.labels for clip in found.clips) == 4

"""AudioSet: its lists, copies under every name, subsets, and a download that is made up."""

import csv
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from sondino.cli.audioset import subset
from sondino.errors import AudioError, OptionError
from sondino.lists import read_list
from sondino.tasks.audioset import fetch
from sondino.tasks.audioset.copies import find_copies, possible_ids, write_list
from sondino.tasks.audioset.fetch import clip_name, fetch_clips, read_gone
from sondino.tasks.audioset.metadata import Metadata, read_metadata, read_segments, read_strong
from sondino.tasks.audioset.ontology import descendants, find_node, read_ontology, roots
from sondino.tasks.audioset.subsets import choose, write_segments
from sondino.tasks.audioset.tables import ontology_lines, totals

HEAD = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=1, num_segs=1\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
IDS = ["--PJHxphWEs", "_bcdefghi_1", "abcdefgh_30", "Ybcdefghijk", "abcdefghijk"]
"""One begins with a hyphen, one with an underscore, one ends as `_number`, one begins with Y."""
TRAIN = (
    f'{IDS[0]}, 30.000, 40.000, "/m/speech,/t/indoor"\n{IDS[1]}, 0.000, 4.480, "/m/dog"\n'
    f'{IDS[2]}, 0.500, 10.500, "/m/dog,/m/speech,/m/bark"\n{IDS[3]}, 10.000, 20.000, "/m/bark"\n'
)
NODES = [
    {"id": "/m/all", "name": "Animal", "child_ids": ["/m/dog", "/m/pets"], "restrictions": ["abstract"]},
    {"id": "/m/pets", "name": "Pets", "child_ids": ["/m/dog"], "restrictions": ["blacklist"]},
    {"id": "/m/dog", "name": "Dog", "child_ids": ["/m/bark"], "restrictions": []},
    {"id": "/m/bark", "name": "Bark", "child_ids": [], "restrictions": []},
    {"id": "/m/speech", "name": "Male speech, man speaking", "child_ids": [], "restrictions": []},
]


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    folder = tmp_path / "metadata"
    folder.mkdir()
    (folder / "balanced_train_segments.csv").write_text(HEAD + TRAIN)
    (folder / "eval_segments.csv").write_text(HEAD + f'{IDS[4]}, 30.000, 40.000, "/m/speech"\n')
    (folder / "ontology.json").write_text(json.dumps(NODES))
    (folder / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/t/indoor,"Inside, small room"\n')
    return read_metadata(folder)


def sound(file: Path, seconds: float = 1.0, rate: int = 16_000) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(file.name.encode())
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)), rate)
    return file


# ---- metadata -----------------------------------------------------------------------------------------------------


def test_lists_names_and_parts(metadata: Metadata) -> None:
    segments = metadata.segments
    assert segments.ids.tolist() == [one.encode() for one in IDS] and segments.sets == ("balanced_train", "eval")
    assert segments.start.tolist() == [30_000, 0, 500, 10_000, 30_000]
    assert segments.end.tolist() == [40_000, 4_480, 10_500, 20_000, 40_000]
    assert list(metadata.cells()) == [
        "Male speech, man speaking;Inside, small room",
        "Dog",
        "Dog;Male speech, man speaking;Bark",
        "Bark",
        "Male speech, man speaking",
    ]
    assert [metadata.split_of(row) for row in range(5)] == ["train"] * 4 + ["test"]
    facts = totals(metadata)
    assert (facts["segments"], facts["labels"]) == (5, 4)
    assert [(s["set"], s["segments"], s["labels"], s["shorter_than_10_s"]) for s in facts["sets"]] == [
        ("balanced_train", 4, 4, 1),
        ("eval", 1, 1, 0),
    ]
    assert facts["sets"][0]["hours"] == round((10 + 4.48 + 10 + 10) / 3600, 1)


def test_rows_are_read_across_blocks(metadata: Metadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metadata" / "balanced_train_segments.csv"
    for size in (1, 7, 100):
        monkeypatch.setattr("sondino.tasks.audioset.metadata.BLOCK", size)
        found = read_segments([file])
        assert found.ids.tolist() == metadata.segments.ids.tolist()[:4] and found.start.tolist()[2] == 500
        assert found.first.tolist() == metadata.segments.first.tolist()[:5]
    file.write_text((HEAD + TRAIN).replace("\n", "\r\n").rstrip())  # no end of line at the end
    assert read_segments([file]).ids.tolist() == found.ids.tolist()
    rows = found.take(np.array([3, 0]))
    assert [rows.mids[n] for n in rows.numbers] == ["/m/bark", "/m/speech", "/t/indoor"] and rows.first.tolist() == [
        0,
        1,
        3,
    ]


@pytest.mark.parametrize("line", ['abc, 0, 10, "/m/dog"', 'abcdefghijk, zero, 10, "/m/dog"', "abcdefghijk 0 10 /m/dog"])
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "train_segments.csv").write_text(HEAD + TRAIN + line + "\n")
    with pytest.raises(OptionError, match=r"train_segments.csv, line 8 is no segment"):
        read_metadata(tmp_path)


def test_what_is_no_metadata_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="does not exist"):
        read_metadata(tmp_path / "none")
    with pytest.raises(AudioError, match="holds no segment list"):
        read_metadata(tmp_path)
    (tmp_path / "eval_segments.csv").write_text(HEAD)
    with pytest.raises(OptionError, match="holds no segments"):
        read_metadata(tmp_path)
    (tmp_path / "eval_segments.csv").write_text(HEAD + TRAIN)
    (tmp_path / "ontology.json").write_text("[1]")
    with pytest.raises(OptionError, match="is not AudioSet's ontology"):
        read_metadata(tmp_path)


def test_an_address_gets_a_sentence(metadata: Metadata) -> None:
    place = Path("s3://bucket/audioset")  # as the command line gives it, with one / left
    for call in (lambda: read_metadata(place), lambda: find_copies(metadata, place)):
        with pytest.raises(OptionError, match=r"^s3://bucket/audioset: .*`sondino corpus ADDRESS --audioset METADATA`"):
            call()


def test_strong_labels_are_split_from_the_right(tmp_path: Path) -> None:
    file = tmp_path / "audioset_eval_strong.tsv"
    file.write_text("segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n_b_d_f_h_j__30000\t0.5\t2.25\t/m/dog\n")
    found = read_strong(file)
    assert (found.ids, found.begin.tolist(), found.mids) == (("_b_d_f_h_j_",), [30_000], ("/m/dog",))
    assert (found.start.tolist(), found.end.tolist()) == ([0.5], [2.25])
    file.write_text("segment_id\tstart\nabc\t1\n")
    with pytest.raises(OptionError, match="line 2 is no strong label"):
        read_strong(file)


def test_the_ontology_is_a_graph(tmp_path: Path, metadata: Metadata) -> None:
    nodes = metadata.ontology
    assert [node.name for node in roots(nodes)] == ["Animal", "Male speech, man speaking"]
    assert [node.name for node in descendants(nodes, find_node(nodes, "animal"))] == ["Animal", "Dog", "Bark", "Pets"]
    assert list(ontology_lines(metadata, "Pets")) == [
        "Pets  /m/pets  (blacklisted)",
        "  Dog  /m/dog  (2)",
        "    Bark  /m/bark  (2)",
    ]
    with pytest.raises(OptionError, match="has no node 'Dgo': did you mean Dog"):
        find_node(nodes, "Dgo")
    with pytest.raises(OptionError, match=r"needs ontology\.json"):
        find_node({}, "Dog")
    NODES_ROUND = [{"id": "a", "name": "A", "child_ids": ["b"]}, {"id": "b", "name": "B", "child_ids": ["a"]}]
    (tmp_path / "round.json").write_text(json.dumps(NODES_ROUND))
    circle = read_ontology(tmp_path / "round.json")
    with pytest.raises(OptionError, match="goes round in circles"):
        descendants(circle, circle["a"])


# ---- copies -------------------------------------------------------------------------------------------------------


def test_ids_in_names() -> None:
    assert possible_ids("--PJHxphWEs_30.000_40.000.wav") == ["--PJHxphWEs"]
    assert possible_ids("Y--PJHxphWEs.wav") == ["--PJHxphWEs"]
    assert possible_ids("abcdefgh_30_30.000.flac") == ["abcdefgh_30"]
    assert possible_ids("Ybcdefghijk_30.0-40.0.mp3") == ["Ybcdefghijk"]
    assert possible_ids("Ybcdefgh_30.wav") == ["Ybcdefgh_30"]
    assert possible_ids("Y_bcdefghi_1.wav") == ["_bcdefghi_1"]
    assert possible_ids("shard/x/abcdefghijk.flac") == ["abcdefghijk"] == possible_ids("abcdefghijk")
    assert possible_ids("cover.wav") == possible_ids("abcdefghijkl.wav") == possible_ids("abcdefghijk_part.wav") == []


NAMINGS = {
    "the published code": "eval/-/{0}_30.000_40.000.wav",
    "PANNs": "balanced/Y{0}.wav",
    "audtorch": "{0}_30.000.wav",
    "audioset-download": "Male speech/{0}_30.0-40.0.wav",
    "plain": "{0}.flac",
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_copies_of_every_naming(naming: str, metadata: Metadata, tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    for name in [*IDS[:3], IDS[4], "ZZZZZZZZZZZ"]:
        sound(audio / NAMINGS[naming].format(name))
    copies = find_copies(metadata, audio)
    assert copies.present().tolist() == [True, True, True, False, True]
    assert [Path(one).name for one in copies.unknown] == [Path(NAMINGS[naming].format("ZZZZZZZZZZZ")).name]
    assert write_list(metadata, copies, tmp_path / "list.csv") == 4
    rows = list(csv.DictReader((tmp_path / "list.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [*IDS[:3], IDS[4]] and [row["split"] for row in rows] == ["train"] * 3 + [
        "test"
    ]
    assert rows[2]["label"] == "Dog;Male speech, man speaking;Bark"
    assert all((tmp_path / row["path"]).exists() and row["path"].startswith("audio/") for row in rows)


def test_a_list_is_one_that_a_corpus_takes(metadata: Metadata, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from sondino.corpus.table import build_corpus

    for name in IDS:
        sound(tmp_path / "audio" / f"Y{name}.wav")
        sound(tmp_path / "audio" / "again" / f"Y{name}.wav")  # audioset-download copies a clip for each label
    copies = find_copies(metadata, tmp_path / "audio")
    assert copies.repeated == 5 and len(copies.paths) == 5
    for name in ("list.csv", "elsewhere/list.parquet"):
        write_list(metadata, copies, tmp_path / name)
        assert len(read_list(tmp_path / name, {})) == 5
    corpus = build_corpus(tmp_path / "elsewhere/list.parquet", tmp_path / "corpus", clip=1.0)
    labels = corpus.labels()
    assert corpus.ids() == IDS and labels.multi_label and len(labels.names) == 4
    with pytest.raises(OptionError, match=r"ends in \.csv or \.parquet"):
        write_list(metadata, copies, tmp_path / "list.txt")


def test_copies_in_archives(metadata: Metadata, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    h5py = pytest.importorskip("h5py")
    import pyarrow.parquet as pq

    audio = tmp_path / "audio"
    sound(audio / "loose" / f"{IDS[0]}.wav")
    with tarfile.open(audio / "a.tar", "w") as tar:
        for name in (IDS[1], "ZZZZZZZZZZZ"):
            tar.add(sound(tmp_path / "packed" / f"{name}_0.000_4.480.wav"), f"./{name}_0.000_4.480.wav")
    bytes_of = [{"bytes": b"x", "path": None}] * 2
    pq.write_table(pa.table({"video_id": [IDS[2], IDS[0]], "audio": bytes_of}), audio / "b.parquet")
    pq.write_table(pa.table({"nothing": [1]}), audio / "c.parquet")
    with h5py.File(audio / "d.h5", "w") as opened:
        opened["audio_name"] = np.array([f"Y{IDS[3]}.wav", ""], dtype="S20")
    (audio / "broken.h5").write_text("no")
    copies = find_copies(metadata, audio)
    assert copies.present().tolist() == [True, True, True, True, False]
    assert {Path(file).name: count for file, count in copies.archives.items()} == {
        "a.tar": 1,
        "b.parquet": 2,
        "d.h5": 1,
    }
    assert [one.endswith("ZZZZZZZZZZZ_0.000_4.480.wav") for one in copies.unknown] == [True]
    assert {Path(file).name for file, _ in copies.skipped} == {"c.parquet", "broken.h5"}
    assert write_list(metadata, copies, tmp_path / "list.csv") == 1
    (audio / "loose" / f"{IDS[0]}.wav").unlink()
    with pytest.raises(OptionError, match="no clip of the metadata is a file of its own there: 4 lie in archives"):
        write_list(metadata, find_copies(metadata, audio), tmp_path / "list.csv")


# ---- subsets ------------------------------------------------------------------------------------------------------


def many(tmp_path: Path) -> Metadata:
    """100 clips of Speech, 20 of Dog and Speech, 3 of Bark."""
    kinds = ["/m/speech"] * 100 + ["/m/dog,/m/speech"] * 20 + ["/m/bark"] * 3
    lines = [f'{n:011}, 0.000, 10.000, "{kind}"\n' for n, kind in enumerate(kinds)]
    (tmp_path / "unbalanced_train_segments.csv").write_text(HEAD + "".join(lines))
    (tmp_path / "ontology.json").write_text(json.dumps(NODES))
    return read_metadata(tmp_path)


def test_subsets(tmp_path: Path) -> None:
    metadata = many(tmp_path)
    count = metadata.segments.mids.index
    drawn = choose(metadata, clips=50, seed=1)
    assert drawn.sum() == 50 and np.array_equal(drawn, choose(metadata, clips=50, seed=1))
    assert not np.array_equal(drawn, choose(metadata, clips=50, seed=2))
    balanced = metadata.segments.counts(choose(metadata, per_label=10))
    assert balanced[count("/m/bark")] == 3  # all there are
    assert balanced[count("/m/dog")] == 10 and balanced[count("/m/speech")] == 10  # the dogs' own speech is enough
    assert choose(metadata, nodes=("Animal",)).sum() == 23 and choose(metadata, nodes=("/m/bark",)).sum() == 3
    few = np.zeros(123, bool)
    few[118:] = True
    assert choose(metadata, among=few).tolist() == few.tolist()
    for bad, message in (
        ({"sets": ("eval",)}, "there is no set 'eval'"),
        ({"clips": 1, "per_label": 1}, "both clips and per-label"),
        ({"clips": 0}, "clips is 0"),
        ({"among": ~np.ones(123, bool)}, "no segment is left"),
    ):
        with pytest.raises(OptionError, match=message):
            choose(metadata, **bad)


@pytest.mark.parametrize("numbers", [{"clips": 0}, {"per_label": 0}, {"clips": 2, "per_label": 2}])
def test_numbers_are_checked_before_the_metadata_is_read(tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=r"clips is 0|per-label is 0|both clips and per-label"):
        subset(tmp_path / "no metadata", out=tmp_path / "out.csv", **numbers)


def test_a_subset_is_a_list_of_segments(metadata: Metadata, tmp_path: Path) -> None:
    assert write_segments(metadata, choose(metadata, nodes=("Dog",)), tmp_path / "dogs.csv") == 3
    found = read_metadata(tmp_path / "dogs.csv")
    assert found.segments.ids.tolist() == [one.encode() for one in IDS[1:4]] and found.segments.sets == (
        "balanced_train",
    )
    assert [found.segments.mids[n] for n in found.segments.numbers] == [
        "/m/dog",
        "/m/dog",
        "/m/speech",
        "/m/bark",
        "/m/bark",
    ]
    write_segments(metadata, choose(metadata, sets=("eval",)), tmp_path / "mine.csv")
    assert read_metadata(tmp_path / "mine.csv").split_of(0) == "test"  # whatever the file is called
    with pytest.raises(OptionError, match="for tests alone"):
        write_segments(metadata, np.ones(5, bool), tmp_path / "all.csv")


# ---- fetching -----------------------------------------------------------------------------------------------------


class Videos:
    """A download that is made up: what each video gives, and what was asked."""

    def __init__(self, **answers: object) -> None:
        self.answers, self.asked, self.waited = answers, [], []

    def __call__(self, url: str, start: float, end: float, folder: Path) -> Path:
        assert url.startswith("https://www.youtube.com/watch?v=")
        name = url.partition("=")[2]
        self.asked.append((name, start, end))
        answer = self.answers.get(name.strip("-_"), end - start + 0.013)  # yt-dlp gives a little more
        if isinstance(answer, BaseException):
            raise answer
        return sound(folder / "clip.flac", float(str(answer)), 48_000)

    def names(self) -> list[str]:
        return [name for name, _, _ in self.asked]


def fetched(metadata: Metadata, out: Path, videos: Videos, **options):  # type: ignore[no-untyped-def]
    return fetch_clips(metadata.segments, out, True, 16_000, download=videos, wait=videos.waited.append, **options)


def test_clips_are_fetched_once_and_cut_to_their_length(metadata: Metadata, tmp_path: Path) -> None:
    out, videos = tmp_path / "out", Videos()
    report = fetched(metadata, out, videos)
    assert (report.new, report.there, report.gone, report.failed, report.stopped) == (5, 0, 0, [], "")
    assert videos.asked[2] == (IDS[2], 0.5, 10.5) and videos.waited == [5.0] * 4  # none before the first
    assert clip_name(metadata.segments, 0) == "balanced_train/-/--PJHxphWEs_30.000_40.000.flac"
    assert clip_name(metadata.segments, 1).startswith("balanced_train/-/_bcdefghi_1_0.000")
    for row, seconds in enumerate((10, 4.48, 10, 10, 10)):
        facts = soundfile.info(out / clip_name(metadata.segments, row))
        assert (facts.samplerate, facts.channels, facts.frames) == (16_000, 1, round(seconds * 16_000))
    again = Videos()
    assert fetched(metadata, out, again).there == 5 and again.asked == []
    assert find_copies(metadata, out).present().all()


def test_what_is_gone_is_remembered_with_reason_and_day(metadata: Metadata, tmp_path: Path) -> None:
    out = tmp_path / "out"
    gone = {"PJHxphWEs": ValueError("ERROR: [youtube] x: Private video. Sign in if you've been granted access")}
    other = {"Ybcdefghijk": ConnectionError("connection reset"), "abcdefghijk": 3.2}
    report = fetched(metadata, out, Videos(**gone, **other))
    assert (report.new, report.gone) == (2, 1)
    assert report.failed == [(IDS[3], "connection reset"), (IDS[4], "3.20 s came of 10 s")]
    reason, day = read_gone(out / "gone.csv")[IDS[0]]
    assert "Private video" in reason and len(day) == 10
    assert (
        sorted(file.suffix for file in out.rglob("*") if file.is_file() and not file.name.startswith("."))
        == [".csv"] * 2 + [".flac"] * 2
    )
    with (out / "gone.csv").open("a") as lines:
        lines.write("abcd")  # a line that a kill cut short
    again = Videos(abcdefghijk=ValueError("Video unavailable"))
    report = fetched(metadata, out, again)
    assert again.names() == IDS[3:] and (report.new, report.there, report.gone) == (1, 2, 2)
    assert set(read_gone(out / "gone.csv")) == {IDS[0], IDS[4]}
    asked_again = Videos()
    assert fetched(metadata, out, asked_again, ask_again=True).new == 2 and asked_again.names() == [IDS[0], IDS[4]]


@pytest.mark.parametrize(
    "answer",
    ["ERROR: Sign in to confirm you’re not a bot. Use --cookies", "HTTP Error 429: Too Many Requests"],
)
def test_it_stops_at_the_first_demand_to_sign_in(answer: str, metadata: Metadata, tmp_path: Path) -> None:
    videos = Videos(bcdefghi_1=RuntimeError(answer))
    report = fetched(metadata, tmp_path / "out", videos)
    assert report.new == 1 and len(videos.asked) == 2 and IDS[1] in report.stopped
    assert not (tmp_path / "out" / "gone.csv").exists()
    later = Videos()
    assert fetched(metadata, tmp_path / "out", later).new == 4 and later.names() == IDS[1:]


def test_a_number_of_requests_is_obeyed(metadata: Metadata, tmp_path: Path) -> None:
    report = fetched(metadata, tmp_path / "out", Videos(), most=2)
    assert report.new == 2 and report.stopped.startswith("2 requests were made")


def test_a_clip_that_was_killed_in_the_cut_does_not_count(
    metadata: Metadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed(file, *rest, **options):  # type: ignore[no-untyped-def]
        file.write(b"fLaC half")
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "soundfile", SimpleNamespace(write=killed))
    with pytest.raises(KeyboardInterrupt):
        fetched(metadata, out, Videos())
    assert not [file for file in out.rglob("*") if file.suffix == ".flac" and not file.name.startswith(".")]
    monkeypatch.setattr(fetch, "soundfile", soundfile)
    assert fetched(metadata, out, Videos()).new == 5


def test_nothing_is_fetched_without_the_right_to(
    metadata: Metadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match=r"without --i-have-the-rights.*belongs to its uploaders"):
        fetch_clips(metadata.segments, tmp_path / "out", False, download=Videos())
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(fetch, "require", lambda module, extra: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionError, match="ffmpeg and ffprobe cannot be found"):
        fetch_clips(metadata.segments, tmp_path / "out", True)

import csv
from collections import Counter

import soundfile

from sondino.sample_sounds import sample_folder, sample_labels, sample_list


def test_every_listed_clip_is_there_and_no_other():
    labels = sample_labels()
    assert len(labels) == 130
    assert set(labels) == {f"audio/{file.name}" for file in (sample_folder() / "audio").iterdir()}


def test_every_clip_can_be_decoded():
    for path in sample_labels():
        info = soundfile.info(sample_folder() / path)
        assert (info.samplerate, info.channels) == (32000, 1)
        assert 0.01 < info.duration < 11


def test_families():
    counts = Counter(sample_labels().values())
    assert len(counts) == 12
    assert min(counts.values()) == 3
    assert counts["tabla"] == 26


def test_list_has_what_a_corpus_reads_and_credits_everyone():
    with sample_list().open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["path", "label", "licence", "source", "author"]
    assert {row["licence"] for row in rows} == {"CC0"}
    assert all(row["author"] for row in rows)
    assert "CC0" in (sample_folder() / "README.md").read_text(encoding="utf-8")

"""Answers on disk: nothing that was confirmed is lost, and nothing that failed counts."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from sondino.annotation.answers import Answer, Answers
from sondino.errors import OptionError, RunError


def said(start: float, verdict: Literal["yes", "no", "unsure"] = "yes", who: str = "Ada", label: str = "dog") -> Answer:
    return Answer("a.wav", start, start + 1, label, verdict, "top", 0.5, who, "model")


def test_an_answer_is_on_disk_with_who_when_and_which_model(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(said(1.0))
    line = json.loads((tmp_path / "answers.jsonl").read_text())
    assert (line["who"], line["model"], line["verdict"], line["start"]) == ("Ada", "model", "yes", 1.0)
    assert line["time"].endswith("+00:00")
    assert [a.start for a in Answers(answers.file).latest("dog")] == [1.0]


def test_a_path_that_is_not_utf8_comes_back(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(Answer("a\udcff.wav", 0, 1, "dog", "yes", "top", None, "", "model"))
    assert Answers(answers.file).latest("dog")[0].path == "a\udcff.wav"


def test_two_processes_see_each_others_answers_and_labels(tmp_path: Path) -> None:
    one, other = Answers(tmp_path / "answers.jsonl"), Answers(tmp_path / "answers.jsonl")
    one.add(said(1.0))
    other.add_label("cat", "Bo")
    other.add(said(2.0, "no", "Bo"))
    one.read()
    assert one.labels == other.labels == ["dog", "cat"]
    assert [a.start for a in one.latest("dog")] == [a.start for a in other.latest("dog")] == [1.0, 2.0]


def test_undo_goes_back_to_the_start_and_takes_only_ones_own(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(said(1.0, "yes"))
    answers.add(said(1.0, "no"))  # the later one counts
    answers.add(said(2.0, who="Bo"))
    assert [a.verdict for a in answers.latest("dog")] == ["no", "yes"]
    again = Answers(answers.file)
    taken = again.undo("Ada")
    assert taken is not None and taken.verdict == "no"
    assert [(a.start, a.verdict) for a in again.latest("dog")] == [(1.0, "yes"), (2.0, "yes")]
    assert again.undo("Ada") is not None
    assert again.undo("Ada") is None
    assert [a.start for a in Answers(answers.file).latest("dog")] == [2.0]
    assert len(answers.file.read_text().splitlines()) == 5  # the history keeps what was taken back


def test_a_torn_last_line_is_dropped_and_the_next_answer_is_whole(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(said(1.0))
    with answers.file.open("ab") as file:
        file.write(b'{"path": "a.wav", "start": 2')
    again = Answers(answers.file)
    assert [a.start for a in again.latest("dog")] == [1.0]
    again.add(said(3.0))
    assert [json.loads(line)["start"] for line in answers.file.read_text().splitlines()] == [1.0, 3.0]
    answers.read()
    assert [a.start for a in answers.latest("dog")] == [1.0, 3.0]


def test_a_line_that_another_process_is_writing_is_read_once_it_is_whole(tmp_path: Path) -> None:
    answers, other = Answers(tmp_path / "answers.jsonl"), Answers(tmp_path / "answers.jsonl")
    answers.add(said(1.0))
    answers.add(said(2.0))
    whole = answers.file.read_bytes()
    answers.file.write_bytes(whole[:-30])
    other.read()
    assert [a.start for a in other.latest("dog")] == [1.0]
    answers.file.write_bytes(whole)
    other.read()
    assert [a.start for a in other.latest("dog")] == [1.0, 2.0] and other.damaged == 0


def test_a_damaged_line_costs_itself_alone(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(said(1.0))
    with answers.file.open("ab") as file:
        file.write(b"\0\0\0\n")
    answers.add(said(2.0))
    again = Answers(answers.file)
    assert again.damaged == 1
    assert [a.start for a in again.latest("dog")] == [1.0, 2.0]
    again.undo("Ada")
    assert [a.start for a in Answers(answers.file).latest("dog")] == [1.0]


@pytest.mark.parametrize("part", [0, 20])
def test_on_a_full_disk_an_answer_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(said(1.0))
    write, before = os.write, answers.file.read_bytes()

    def full(file: int, content: bytes) -> int:
        if part:
            return write(file, content[:part])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(RunError, match=r"No space left on device.*does not count"):
            answers.add(said(2.0))
        with pytest.raises(RunError, match="the answer stands"):
            answers.undo("Ada")
    assert answers.file.read_bytes() == before
    assert [a.start for a in answers.latest("dog")] == [1.0]
    answers.add(said(3.0))
    assert [a.start for a in Answers(answers.file).latest("dog")] == [1.0, 3.0]


@pytest.mark.parametrize("label", ["", " ", "a;b", "a\nb", " dog", "x" * 101])
def test_what_cannot_be_a_label(tmp_path: Path, label: str) -> None:
    with pytest.raises(OptionError, match="label"):
        Answers(tmp_path / "answers.jsonl").add_label(label, "")


ENDLESS = """
import sys
from pathlib import Path
from sondino.annotation.answers import Answer, Answers
answers = Answers(Path(sys.argv[1]))
for number in range(10**9):
    answers.add(Answer("a.wav", number, number + 1, "dog", "yes", "top", None, sys.argv[2], "model"))
    print(number + 1, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_while_two_processes_answer_nothing_confirmed_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    command = [sys.executable, "-c", ENDLESS, str(file)]
    both = [subprocess.Popen([*command, who], stdout=subprocess.PIPE, text=True) for who in ("Ada", "Bo")]
    for process in both:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 20:
            pass
        os.kill(process.pid, signal.SIGKILL)
    counts = {}
    for who, process in zip(("Ada", "Bo"), both, strict=True):
        assert process.stdout is not None
        counts[who] = max([20, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
    there = Answers(file)
    assert there.damaged == 0
    for who, count in counts.items():
        assert sum(a.who == who for a in there.standing.values()) in (count, count + 1)

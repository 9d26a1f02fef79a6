"""What `sondino pretrain` prints at its end."""

import json
import shlex
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="the train extra is not installed")

from helpers.pretraining_run import write_pretraining_run
from sondino.pretraining.result import print_summary


def test_it_prints_what_was_measured_and_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_pretraining_run(tmp_path / "run")
    assert print_summary(run) == 1  # a file could not be read
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["loss", "of", "prediction", "1.55", "0.8"] in lines
    assert ["loss", "of", "classes", "5.7", "4.2"] in lines
    assert ["perplexity", "of", "classes", "190", "220"] in lines
    assert "update 50" in shown and "update 200" in shown
    flowing = " ".join(shown.split())
    assert "matpac++ tiny, 1.54 M parameters; 200 updates in 100 s on 5.68 h of 1234 recordings" in flowing
    assert "log-mels: mean -10.299, deviation 4.991" in flowing
    assert f"next: sondino distill AUDIO --teacher {shlex.quote(str(run))} --out STUDENT" in flowing
    assert f"skipped: 2, listed in {run / 'skipped.csv'}" in flowing
    assert "collapsed" not in shown


def test_it_prints_collapse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_pretraining_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"collapsed": "one class takes nearly all patches", "unreadable": 0}
    (run / "summary.json").write_text(json.dumps(summary))
    assert print_summary(run) == 0
    assert "collapsed: one class takes nearly all patches" in capsys.readouterr().out


def test_masked_prediction_alone_has_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(write_pretraining_run(tmp_path / "run", class_weight=0))
    shown = capsys.readouterr().out
    assert "loss of prediction" in shown and "classes" not in shown

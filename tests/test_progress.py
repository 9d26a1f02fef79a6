import pytest

from sondino import progress


def test_lines_come_every_ten_seconds_and_the_end_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.show("targets", "clips") as report:
        for second in range(26):
            now = float(second)
            report(second * 4, 100)
        report(100, 100)
    assert capsys.readouterr().err.splitlines() == [
        "targets: 40 of 100 clips, 4/s, 15 s left",
        "targets: 80 of 100 clips, 4/s, 5 s left",
        "targets: 100 of 100 clips, 4/s",
    ]


def test_a_resumed_stage_does_not_count_what_was_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.show("targets", "clips") as report:
        report(900, 1000)
        now = 10.0
        report(950, 1000)
    assert capsys.readouterr().err.splitlines() == ["targets: 950 of 1000 clips, 5/s, 10 s left"]


def test_quiet_reports_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.show("targets", "clips", quiet=True) as report:
        report(1, 1)
    assert capsys.readouterr().err == ""


def test_slow_work_reports_how_long_each_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((0.0, 0.0, 28.0))
    monkeypatch.setattr("sondino.progress.time.monotonic", lambda: next(now))
    with progress.show("layers", "layers") as report:
        report(0, 8)
        report(4, 8)
    assert "4 of 8 layers, 7 s each, 28 s left" in capsys.readouterr().err

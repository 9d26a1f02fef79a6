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


def test_nothing_is_silent_for_over_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = progress.Lines("targets", "clips")
    for second in range(1, 25):
        now = float(second)
        lines.beat()
    lines.report(1, 100)
    now = 125.0
    lines.beat()
    lines.report(26, 101)
    now = 250.0
    lines.beat()
    assert capsys.readouterr().err.splitlines() == [
        "targets: 10 s so far",
        "targets: 20 s so far",
        "targets: 1 of 100 clips, 2 min so far",
        "targets: 26 of 101 clips, 10 s each, 12 min left",
    ]


def test_a_rate_of_zero_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.show("targets", "clips") as report:
        report(100, 100)  # all were there
    assert capsys.readouterr().err == "targets: 100 of 100 clips\n"
    assert progress._format_rate(0) == "" and progress._format_rate(0.4) == "2 s each"


def test_stages_within_a_stage_have_numbers_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.stages(3):
        with progress.show("headers"):
            pass
        with progress.within("recovery"), progress.stages(2):
            with progress.show("targets", "clips") as report:
                report(1, 1)
            with progress.show("training"):
                pass
        with progress.show("the graph"):
            pass
    with progress.within("run 1 of 2"), progress.show("targets", "clips") as report:
        report(1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3: headers",
        "2 of 3: recovery, 1 of 2: targets: 1 of 1 clips",
        "2 of 3: recovery, 2 of 2: training",
        "3 of 3: the graph",
        "run 1 of 2: targets: 1 of 1 clips",
    ]


def test_stages_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.stages(2):
        with progress.show("the graph"):
            pass
        with progress.stages(7), progress.show("targets", "clips") as report:  # a command within another's stage
            report(1, 1)
        with progress.show("one more"):
            pass
    with progress.show("apart"):
        pass
    assert capsys.readouterr().err.splitlines() == [
        "1 of 2: the graph",
        "2 of 2: targets: 1 of 1 clips",
        "3 of 3: one more",
    ]

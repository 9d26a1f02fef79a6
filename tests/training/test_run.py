import errno
import json
from pathlib import Path

import pytest

from sondino.errors import RunError
from sondino.files import write_skipped
from sondino.training.run import check_same_config, open_run


def test_what_a_run_was_started_with_is_kept_and_defended(tmp_path: Path) -> None:
    check_same_config(tmp_path, {"audio": "a", "recipe": {"epochs": 3, "teacher": ["x"]}})
    check_same_config(tmp_path, {"audio": "a", "recipe": {"epochs": 3, "teacher": ["x"]}})
    check_same_config(tmp_path, {"corpus": "c1"})
    assert json.loads((tmp_path / "run.json").read_text()).keys() == {"audio", "recipe", "corpus"}
    with pytest.raises(RunError, match="epochs was 3, now 4"):
        check_same_config(tmp_path, {"audio": "a", "recipe": {"epochs": 4, "teacher": ["x"]}})
    with pytest.raises(RunError, match="corpus was c1, now c2"):
        check_same_config(tmp_path, {"corpus": "c2"})


def test_a_full_disk_gets_a_message(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No space left"), open_run(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write raises it: no file named


def test_a_folder_that_cannot_be_made_gets_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"), open_run(tmp_path / "file" / "run"):
        pass


def test_skipped_files_are_listed_once(tmp_path: Path) -> None:
    rows = write_skipped(tmp_path / "s.csv", [("a, b.wav", "broken"), ("a, b.wav", "broken"), ("c", "gone")])
    assert len(rows) == 2
    assert (tmp_path / "s.csv").read_text() == 'path,reason\n"a, b.wav",broken\nc,gone\n'

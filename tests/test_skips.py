"""A run whose skips hide something fails; one that skips for want of a GPU, say, passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import skips

pytestmark = pytest.mark.full  # each runs pytest in a process of its own

TESTS = Path(__file__).parent
ALLOWED = """
import pytest
from helpers.skips import ALLOWED, NO_CUDA

@pytest.mark.parametrize("reason", [*ALLOWED, NO_CUDA + ": torch sees none"])
def test_allowed(reason):
    pytest.skip(reason)

def test_that_runs(): pass

@pytest.mark.xfail
def test_that_is_expected_to_fail(): raise ValueError
"""
HIDDEN = {
    "in the test": "import pytest\ndef test_a(): pytest.skip('no browser')",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef page(): pytest.skip('no browser')\ndef test_a(page): assert page"
    ),
    "by a mark": "import pytest\n@pytest.mark.skipif(True, reason='no browser')\ndef test_a(): pass",
    "the whole file": "import pytest\npytest.skip('no browser', allow_module_level=True)",
    "an import": "import pytest\npytest.importorskip('no_browser', reason='no browser')",
    "a reason that only looks alike": "import pytest\ndef test_a(): pytest.skip('no CUDA device, no browser')",
    "no parameters": "import pytest\n@pytest.mark.parametrize('browser', [])\ndef test_a(browser): pass",
}


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "helpers.skips", "-p", "no:cacheprovider", "-c", os.devnull]
    given = {name: value for name, value in os.environ.items() if name != "SONDINO_CI"} | environment
    return subprocess.run(
        [*command, f"--rootdir={folder}", *options, str(folder)],
        capture_output=True,
        text=True,
        env={**given, "PYTHONPATH": str(TESTS)},
        check=False,
    )


def test_the_allowed_reasons_pass(tmp_path: Path) -> None:
    (tmp_path / "test_allowed.py").write_text(ALLOWED)
    done = run(tmp_path, "--no-unexpected-skips")
    assert done.returncode == 0, done.stdout
    assert f"1 passed, {len(skips.ALLOWED) + 1} skipped, 1 xfailed" in done.stdout and "not allowed" not in done.stdout


@pytest.mark.parametrize("how", ["alone", "two processes"])
def test_every_other_skip_fails_the_run_and_is_named(how: str, tmp_path: Path) -> None:
    (tmp_path / "test_allowed.py").write_text(ALLOWED)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "conftest.py").touch()  # the reports of its folder pass through another call of the hooks
    (tmp_path / "more" / "test_runs.py").write_text("def test_b(): pass")
    for i, code in enumerate(HIDDEN.values()):
        (tmp_path / f"test_hidden_{i}.py").write_text(code)
    options = ["-n", "2"] if how == "two processes" else []
    done = run(tmp_path, *options, SONDINO_CI="1")
    assert done.returncode == 1, done.stdout
    _, _, reported = done.stdout.partition("skips that are not allowed here")
    for i, what in enumerate(HIDDEN):
        assert reported.count(f"test_hidden_{i}.py") == 1, what
    assert "browser" in reported and "test_allowed.py" not in reported
    assert f"{len(HIDDEN)} skipped: install what they need" in reported


def test_without_the_option_a_skip_is_a_skip(tmp_path: Path) -> None:
    (tmp_path / "test_hidden.py").write_text(HIDDEN["in the test"])
    assert run(tmp_path).returncode == 0


def test_a_failure_stays_one(tmp_path: Path) -> None:
    (tmp_path / "test_hidden.py").write_text(HIDDEN["in the test"] + "\ndef test_b(): assert False")
    done = run(tmp_path, "--no-unexpected-skips")
    assert done.returncode == 1 and "1 failed, 1 skipped" in done.stdout and "not allowed here" in done.stdout

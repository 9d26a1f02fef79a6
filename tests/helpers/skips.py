"""Fails a run in which a test is skipped for a reason that a CI machine can remove.

Active with `--no-unexpected-skips`, or where SONDINO_CI=1. `-rs`, which pyproject.toml sets, prints every skip anyway.
"""

import os
import sys

import pytest

NO_CUDA = "no CUDA device"
AS_ROOT = "running as root"
OTHER_SYSTEM = "another operating system"
OTHER_PROCESSOR = "another processor"
NOT_GIVEN = "a file that is not in the project"
NO_NAMESPACES = "no network namespaces of one's own"
ALLOWED = (NO_CUDA, AS_ROOT, OTHER_SYSTEM, OTHER_PROCESSOR, NOT_GIVEN, NO_NAMESPACES)
"""Reasons that no installation removes. Each may be followed by a colon and what the test needs."""

needs_posix = pytest.mark.skipif(os.name == "nt", reason=f"{OTHER_SYSTEM}: needs POSIX signals and pipes")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: needs Linux")
not_as_root = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0,
    reason=f"{OTHER_SYSTEM}: needs POSIX permissions" if os.name == "nt" else f"{AS_ROOT}: root may do everything",
)


def is_allowed(reason: str) -> bool:
    """Whether a skip's reason is one of ALLOWED."""
    return reason.partition(":")[0] in ALLOWED


class UnexpectedSkips:
    """Collects the skips of a run, of whole files too, and fails the run for those that are not allowed."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []  # test or file, reason

    def _add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        # (file, line, reason), where the reason begins with "Skipped: "
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not is_allowed(reason):
            self.found.append((report.nodeid, reason))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._add(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.found:
            return
        terminalreporter.section("skips that are not allowed here", red=True, bold=True)
        for name, reason in self.found:
            terminalreporter.line(f"{name}: {reason}")
        terminalreporter.line(
            f"{len(self.found)} skipped: install what they need. Allowed are only: {', '.join(ALLOWED)}"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-unexpected-skips",
        action="store_true",
        default=os.environ.get("SONDINO_CI") == "1",
        help=f"fail if a test is skipped for any reason but: {', '.join(ALLOWED)} (default where SONDINO_CI=1)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A worker of pytest-xdist sends its reports to the main process, which counts them.
    if config.getoption("--no-unexpected-skips") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(UnexpectedSkips(), "unexpected-skips")

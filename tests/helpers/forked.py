"""Python code in processes of their own that need not import torch: they are forked from one that has.

The process that forks has no threads, which a fork would lose, so it is none of the test run's own.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

CLI = "import sys; from sondino.cli import main; main(sys.argv[1:])"
"""The code of the command line."""


class ForkServer:
    """Started by the first call; ended by `close`."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(
        self, code: str, *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run([sys.executable, "-c", code, *arguments])` gives, with `env` beside the environment."""
        if self.process is None:
            alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "helpers.forked"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **alone, "PYTHONPATH": path},
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as kept:
            asked = {"code": code, "arguments": [str(a) for a in arguments], "kept": kept, "env": dict(env or {})}
            self.process.stdin.write(json.dumps({**asked, "cwd": str(cwd or Path.cwd())}) + "\n")
            self.process.stdin.flush()
            returned = int(self.process.stdout.readline())
            out, err = ((Path(kept) / name).read_text(errors="replace") for name in ("out", "err"))
        return subprocess.CompletedProcess([code, *asked["arguments"]], returned, out, err)

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None


def _child(code: str, arguments: list[str], kept: str, env: dict[str, str], cwd: str) -> int:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(kept) / name, os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.update(env)
    sys.argv = ["-c", *arguments]
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as left:
        if isinstance(left.code, str):
            sys.stderr.write(f"{left.code}\n")
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Fork a child for each line of stdin; answer with its exit code."""
    import accelerate  # noqa: F401
    import onnxscript  # noqa: F401
    import torch._dynamo  # noqa: F401 - an optimizer's first step imports it

    if Path("/proc/self/task").is_dir():
        assert len(list(Path("/proc/self/task").iterdir())) == 1
    answers = os.fdopen(os.dup(1), "w")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the test run's
    for line in sys.stdin:
        asked = json.loads(line)
        for name in ("out", "err"):
            (Path(asked["kept"]) / name).touch()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = _child(**asked)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    serve()

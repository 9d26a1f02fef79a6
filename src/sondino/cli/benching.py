"""The command that times models: bench."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from sondino.console import open_console, print_line

Number = TypeVar("Number", int, float)


def bench(
    models: list[str] | None = None,
    *,
    runtime: str = "all",
    threads: str | None = None,
    against: Annotated[list[str] | None, Parameter(negative=())] = None,
    seconds: str = "10,1",
    rounds: int = 3,
    out: Path = Path("bench"),
    quiet: bool = False,
) -> int:
    """Time models side by side, in every runtime that is installed: speed, memory, cold start, size, energy.

    Each combination is measured in processes of its own, in turn with the others. Writes bench.csv and bench.json.
    Nothing else should run meanwhile.

    Example: `sondino bench run/bundle --threads 1,2 --against "litert:yamnet.tflite#TENSOR?rate=16000"`

    Args:
        models: bundles, runs' folders, published names, folders that `sondino export` wrote, ONNX or TFLite files.
        runtime: what bundles are run in: onnxruntime, onnxruntime-graph, openvino, openvino-graph, torch (several with
            commas), or all that are installed. -graph: plainly from model.onnx, its log-mel inside.
        threads: processor threads, several with commas. Default: 1, and all.
        against: a peer to stand beside: any of those, or a teacher as `sondino teachers` lists them. May be repeated.
        seconds: lengths of clips, with commas.
        rounds: how many times each is timed in turn with the others.
        out: the folder of the results.
        quiet: show no progress.
    """
    from sondino.benchmark.bench import bench as run_bench
    from sondino.benchmark.results import format_failures, format_notes, to_table

    done = run_bench(models or [], out, against=against or [], runtimes=_names(runtime),
                     threads=None if threads is None else _numbers("threads", threads, int, "1,2"),
                     seconds=_numbers("seconds", seconds, float, "10,1"), rounds=rounds, quiet=quiet)  # fmt: skip
    shown = to_table(done)
    if shown is not None:
        open_console().print(shown)
        print_line()
    for line in format_notes(done):
        print_line(line)
    for install in dict.fromkeys(done.missing.values()):
        names = [name for name, needs in done.missing.items() if needs == install]
        print_line(f"left out, not installed here: {', '.join(names)} ({install})")
    if shown is not None:
        print_line(f"results: {out / 'bench.csv'}")
    for message in format_failures(done):
        print_line(f"failed: {message}", error=True)
    if done.stopped:
        raise KeyboardInterrupt
    return 1 if done.failed else 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(option: str, text: str, convert: Callable[[str], Number], example: str) -> list[Number]:
    """Numbers with commas between them.

    Raises:
        OptionError: something else.
    """
    from sondino.errors import OptionError

    try:
        return [convert(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"{option} is {text!r}: give numbers with commas, such as {example}") from None

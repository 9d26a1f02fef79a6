"""The commands that use a model: embed."""

from pathlib import Path
from typing import Literal

from sondino.cli.app import app, list_skipped


@app.command
def embed(
    inputs: list[Path],
    *,
    model: Path,
    output: Path,
    windows: bool = False,
    short: Literal["pad", "native", "repeat"] | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Turn sound into vectors with a bundle. Needs no PyTorch.

    Example: `sondino embed recordings/ --model run/bundle --output vectors.npz`

    Args:
        inputs: files and folders.
        model: a bundle, or a run's folder.
        output: vectors.npz (ids, vectors), .npy, .csv or .parquet.
        windows: a vector for every window, with `clip` and `start`; otherwise a file gets the mean of its windows.
        short: clips under a window are zero-padded, heard at their own length or repeated. Default: as the model says.
        threads: processor threads. Default: all.
        quiet: show no progress.
    """
    from sondino.bundle import load
    from sondino.embed import embed_files
    from sondino.progress import show
    from sondino.skipped import write_skipped

    with show("embedding", "files", quiet) as progress:
        report = embed_files(inputs, load(model, threads), output, windows=windows, threads=threads, short=short,
                             progress=lambda done, total, _: progress(done, total))  # fmt: skip
    print(f"{report.files} files, {report.seconds:.0f} s of sound, in {output}")
    skipped = output.with_name(output.stem + ".skipped.csv")
    if report.skipped:
        write_skipped(skipped, report.skipped)
    else:
        skipped.unlink(missing_ok=True)  # of an earlier call
    return list_skipped(report.skipped, skipped)

"""The command that embeds audio: files and folders into a table, or a stream as it comes."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter

from sondino.cli.app import Inputs, check_hyphens, fetched, kept_note, list_skipped, report_skipped
from sondino.cli.spreading import Spread
from sondino.console import print_line
from sondino.errors import OptionError
from sondino.hub.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from sondino.audio.signal import Scale
    from sondino.embedding.inputs import Given, Input, ListedInputs
    from sondino.model.model import Model

Engine = Literal["onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]
STREAM = Path("-")
STANDARD_OUTPUT = "-"
COST_CLIPS = 16  # on which the loss by engine and precision is measured
FLOAT16_COSINE = 0.99
"""To float32, under which it is said why: trained nets are above 0.999."""


def embed(
    inputs: Inputs,
    *,
    model: str = DEFAULT_MODEL,
    output: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    format: Literal["csv", "jsonl"] | None = None,
    append: bool = False,
    per_window: bool = False,
    window: float | None = None,
    hop: float | None = None,
    short: Literal["pad", "native", "repeat"] | None = None,
    window_policy: Literal["all", "published"] = "all",
    threads: int | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    engine: Engine = "onnxruntime",
    precision: Precision | Literal["auto"] = "float32",
    resample: Literal["auto", "always"] = "auto",
    rate: int | None = None,
    sample_format: Literal["s16le", "s24le", "s32le", "f32le"] = "s16le",
    channels: int = 1,
    channel: int | Literal["mean", "each"] = "mean",
    scale: Literal["none", "auto"] = "none",
    quiet: bool = False,
    spread: Spread | None = None,
) -> int:
    """Embed audio. Needs PyTorch only once, to convert a published checkpoint.

    Example: `sondino embed recordings/ --output embeddings.npz`

    Example: `sondino embed recordings/ --output s3://bucket/vectors/ --ray auto`

    Example: `arecord -f S16_LE -r 16000 | sondino embed - --model run/bundle --hop 0.5`

    Args:
        inputs: files, folders, lists (.csv, .parquet), tar files, addresses (https://...) of one sound; or -
            alone, for WAV or raw samples on standard input, a line of JSON per window.
        model: a bundle, a run's folder, a name that `sondino models` lists, hf:owner/name, or a checkpoint. Default:
            the model that comes with the package.
        output: embeddings.npz (`ids`, `vectors`), .npy, .csv, .parquet or .lance; a folder/ or s3://bucket/folder/ for
            a Parquet file per 256 files and a manifest; - is standard output. Of a stream .jsonl or .csv, default
            standard output.
        format: of standard output. Default: csv, and jsonl of a stream.
        append: keep what is in the output, and embed only files that are new or have changed since.
        per_window: an embedding per window, with `clip` and `start`; otherwise a file gets the mean of its windows.
        window: seconds of a window. Default: the model's.
        hop: seconds from one window to the next. Default: the window; of a stream 0.5.
        short: clips under a window are zero-padded, processed without padding or repeated. Default: the model's.
        window_policy: published embeds full windows only, as the published package does, and lists short clips as
            skipped; all keeps short clips and tails.
        threads: processor threads. Default: all.
        device: cuda needs onnxruntime-gpu.
        engine: openvino needs `pip install 'sondino[openvino]'`.
        precision: bfloat16 and float16 need openvino; auto takes bfloat16 where it is faster for these files. What was
            taken and its loss on this audio are printed.
        resample: auto computes the log-mel at the rate of the sound, where that is as good as resampling it first;
            always resamples, as training does.
        rate: sample rate in hertz of raw samples on standard input. Default: it is WAV.
        sample_format: of raw samples.
        channels: of raw samples.
        channel: of files, a number from 1, the mean of all, or each, with a row for each and its number in a column.
        scale: auto divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        quiet: show no progress.
    """
    from sondino.embedding.inputs import ListedInputs
    from sondino.pretrained.load import load

    check_hyphens("embed", map(str, [*inputs, *([output] if output else [])]))
    if STREAM in inputs and len(inputs) > 1:
        raise OptionError("- is standard input, and stands alone: leave the other inputs out")
    if STREAM not in inputs and output is None:
        raise OptionError("--output is missing: name embeddings.npz, .npy, .csv, .parquet or .lance")
    if STREAM not in inputs and (rate is not None or sample_format != "s16le" or channels != 1):
        raise OptionError(
            "--rate, --sample-format and --channels are for raw samples on standard input: sondino embed -"
        )
    if STREAM in inputs and channel != "mean":
        raise OptionError("--channel is of files: of a stream the mean of all channels is embedded")
    if STREAM in inputs and append:
        raise OptionError("--append is for files: a stream has no table to add to")
    if STREAM in inputs and scale != "none":
        raise OptionError("--scale auto needs the whole file: of raw whole numbers, --sample-format is the scale")
    lines = output == STANDARD_OUTPUT or (STREAM in inputs and output is None)
    spread = spread or Spread()
    spread.check()
    if (lines or append or STREAM in inputs) and (spread.ray or spread.part_range):
        raise OptionError("--ray and --part-range are for files and a table or folder of parts, without --append")
    if format is not None and not lines:
        raise OptionError("--format is of standard output, --output -; the suffix of a file names its format")
    if lines and append:
        raise OptionError("--append is for a table, and --output - is standard output: leave one of the two out")
    in_parts = not lines and output is not None and STREAM not in inputs and _in_parts(output, append, spread)
    if precision == "auto" and (in_parts or STREAM in inputs or engine != "onnxruntime" or device != "cpu"):
        raise OptionError(
            "--precision auto is for files and one table, and chooses the engine: leave --engine, --device, --ray and "
            "--part-range out and name no folder as the output, or name a precision"
        )
    if precision == "auto" and append:
        raise OptionError(
            "--precision auto may choose another precision for each --append, and a table has one: name it"
        )
    open_model = partial(load, model, threads, window_policy=window_policy, device=device, engine=engine,
                         precision="float32" if precision == "auto" else precision, resample=resample)  # fmt: skip
    if in_parts:
        assert output is not None
        return _embed_parts(fetched(inputs, quiet), open_model, output, spread, quiet, per_window=per_window,
                            window=window, hop=hop, short=short, scale=scale, channel=channel)  # fmt: skip
    opened = open_model()
    if STREAM in inputs:
        from sondino.embedding.streams import embed_stdin

        report = embed_stdin(opened, None if lines or output is None else Path(output), rate, sample_format, channels,
                             hop=0.5 if hop is None else hop, window=window, short=short,
                             form=format or "jsonl")  # fmt: skip
        if not quiet:
            print_line(f"sondino: {report}", error=True)
        return 0
    assert output is not None
    listing = ListedInputs(fetched(inputs, quiet), channel)
    if precision == "auto":
        from sondino.embedding.precision import choose_precision
        from sondino.encoder.pipeline import resolve_windowing

        engine, precision, why = choose_precision(
            opened, listing.found[0], resolve_windowing(opened, window, hop, short)
        )
        if precision != opened.precision:
            opened = open_model(engine=engine, precision=precision)
        if not quiet:
            print_line(f"precision: {why}", error=True)
    return _embed_files(listing, opened, Path(output), format or "csv", append, quiet,
                        per_window=per_window, threads=threads, window=window, hop=hop, short=short, scale=scale,
                        channel=channel)  # fmt: skip


def _in_parts(output: str, append: bool, spread: Spread) -> bool:
    """Whether the output is a data set of parts, or the work is spread."""
    from sondino.embedding.tables import is_data_set

    data_set = is_data_set(output)
    if data_set and append:
        raise OptionError("--append is for a table; a folder of parts takes new files by itself")
    return data_set or bool(spread.ray or spread.part_range)


def _embed_parts(
    inputs: "list[Given]", open_model: "Callable[[], Model]", output: str, spread: Spread, quiet: bool, **how: Any
) -> int:
    from sondino.embedding.parts import embed_parts
    from sondino.embedding.tables import is_data_set
    from sondino.progress import show

    share = spread.share()
    name = "embedding" if share is None else f"embedding share {share[0]} of {share[1]}"
    with show(name, "files", quiet) as progress:
        report = embed_parts(inputs, open_model, output, share=share, cluster=spread.cluster(), **how,
                             progress=lambda done, total, seconds: progress(done, total))  # fmt: skip
    if share is None:
        print_line(f"{report.files} files, {report.seconds:.0f} s of audio, in {output}")
        data_set = is_data_set(output)  # which has a list of its own
        return list_skipped(report.skipped) if data_set else report_skipped(report.skipped, Path(output))
    before = f" ({report.resumed} of them made before)" if report.resumed else ""
    print_line(f"{report.files} files, {report.seconds:.0f} s of audio{before}, for {output}; the same command without "
               "--part-range finishes it once all shares are made")  # fmt: skip
    return list_skipped(report.skipped)


def _embed_files(
    listing: "ListedInputs",
    model: "Model",
    output: Path,
    format: Literal["csv", "jsonl"],
    append: bool,
    quiet: bool,
    **how: Any,
) -> int:
    from sondino.progress import show

    lines = output == STREAM
    with show("embedding", "files", quiet) as progress:

        def count(done: int, total: int, seconds: float) -> None:
            progress(done, total)

        if lines:
            from sondino.embedding.lines import print_embeddings

            report = print_embeddings(listing, model, format, progress=count, **how)
        else:
            from sondino.embedding.files import embed_files

            report = embed_files(listing, model, output, append=append, progress=count, **how)
    if not (lines and quiet):
        where = "" if lines else f", in {output}{kept_note(report)}"
        print_line(f"{report.files} files, {report.seconds:.0f} s of audio{where}", error=lines)
        if not model.exact:
            print_line(_cost(listing.found[0], model, **how), error=lines)
    return list_skipped(report.skipped) if lines else report_skipped(report.skipped, output)


def _cost(
    files: "list[Input]",
    model: "Model",
    *,
    window: float | None = None,
    scale: "Scale" = "none",
    **_: Any,
) -> str:
    """The loss by engine and precision, on the first window of a few of the files."""
    import numpy as np

    from sondino.audio.reading import read
    from sondino.audio.windows import Windowing, stack_windows
    from sondino.errors import SondinoError

    seconds = window or model.window or 10.0
    clips = []
    for file in files:
        try:
            sound = read(cast(Any, file.sound), model.sample_rate, duration=seconds, scale=scale, channel=file.channel)
        except SondinoError:
            continue  # listed among the skipped
        clips.append(stack_windows(sound, model.sample_rate, Windowing(seconds))[0][0])
        if len(clips) == COST_CLIPS:
            break
    if not clips:
        return "cosine to ONNX Runtime in float32: no sound is left to compare on"
    cosines = model.cosine_to_float32(np.stack(clips))
    figures = f"mean {cosines.mean():.6f}, lowest {cosines.min():.6f}"
    text = f"cosine to ONNX Runtime in float32, {len(clips)} windows: {figures}"
    if model.precision == "float16" and cosines.min() < FLOAT16_COSINE:
        text += (
            "; float16 resolves little below 6e-5 and has nothing below 6e-8, and values inside a randomly initialised "
            "net are that small: take bfloat16 or float32"
        )
    return text

"""What is decoded of one sound in every container and codec: by file, by stretch, by pipe, without PyAV, in the page.

    python scripts/format_matrix.py [--page] [--check] [--write docs/formats.md] [--files FOLDER]

Makes the files (tests/helpers/format_files.py), decodes each and compares with the samples that were written. `--check`
fails where a row is outside its bounds. `--page` measures the page's own decoding too, and needs Chromium, Node.js and
`npm ci` in web/. `--write` replaces the table of that page.
"""

import argparse
import base64
import io
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from sondino import audio
from sondino.audio.pipe import Pipe, open_wav
from sondino.errors import MissingExtra, SondinoError

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import browser
from helpers.format_files import FORMS, Form, Samples, noise

WEB = Path(__file__).parents[1] / "web"
STRETCHES = ((0.0, 1.0), (0.4, 0.8), (2.31, 1.0), (3.77, None))
"""Start and duration in seconds; None = to the end."""
SAME = 1e-4  # the largest difference of samples that counts as none: a bit of 14
MOST_PADDING = 0.1  # seconds that encoders add before or after a sound, where the file does not say
MOST_LENGTH = 0.03  # seconds between the length by `info` and what is decoded: a packet
LOSSLESS = 0.99999
MARKS = ("<!-- formats: made by scripts/format_matrix.py -->", "<!-- formats: end -->")

Decode = Callable[[bytes], tuple[int, Samples]]


@dataclass(frozen=True)
class Found:
    """Decoded samples beside those that were written.

    Attributes:
        samples: how many more there are.
        lag: how many samples later the sound is.
        cosine: once that is undone.
        error: why there are none.
        is_named: whether the error names the extra that decodes it.
    """

    samples: int = 0
    lag: int = 0
    cosine: float = 0.0
    error: str = ""
    is_named: bool = False


@dataclass(frozen=True)
class Stretch:
    """The worst of the stretches beside the whole read: lag and missing samples, and the largest difference."""

    lag: int = 0
    missing: int = 0
    difference: float = 0.0
    error: str = ""

    @property
    def is_same(self) -> bool:
        """Whether it is that slice of the whole read."""
        return not (self.lag or self.missing or self.error) and self.difference <= SAME


@dataclass
class Row:
    """A file, and how it is decoded; None where that way does not apply or was not asked for.

    Attributes:
        length: samples by `info`, beyond those that are decoded.
        notes: warnings.
    """

    form: Form
    file: Found
    length: int
    stretch: Stretch
    pipe: Found | None
    without: Found
    page: Found | None
    notes: list[str]


# ---- measuring ------------------------------------------------------------------------------------------------


def compare(decoded: Callable[[], Samples], written: Samples) -> Found:
    """Decode, and compare with what was written."""
    try:
        y = decoded()
    except MissingExtra as error:
        return Found(error=str(error), is_named=True)
    except (SondinoError, RuntimeError) as error:
        return Found(error=str(error))
    lag = lag_of(y, written)
    a, b = y[max(0, lag) :], written[max(0, -lag) :]
    size = min(len(a), len(b))
    a, b = a[:size].astype(np.float64), b[:size].astype(np.float64)
    return Found(len(y) - len(written), lag, float(a @ b / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b)))))


def lag_of(y: Samples, x: Samples) -> int:
    """How many samples later `y` is than `x`: where their cross-correlation has its maximum."""
    size = 1 << (len(x) + len(y)).bit_length()
    product = np.fft.irfft(np.fft.rfft(y, size) * np.fft.rfft(x, size).conj(), size)
    lag = int(np.argmax(product))
    return lag if lag < size // 2 else lag - size


def stretches(path: Path, rate: int) -> Stretch:
    """The worst stretch of a file."""
    whole = audio.read(path, rate)
    worst = Stretch()
    for start, duration in STRETCHES:
        first = round(start * rate)
        expected = whole[first : None if duration is None else first + round(duration * rate)]
        try:
            part = audio.read(path, rate, start, duration)
        except SondinoError as error:
            return Stretch(error=str(error))
        size = min(len(part), len(expected))
        found = Stretch(
            lag_of(part, expected) if size else 0,
            len(expected) - len(part),
            float(np.abs(part[:size] - expected[:size]).max(initial=0)),
        )
        worst = max(worst, found, key=lambda one: (abs(one.lag), abs(one.missing), one.difference))
    return worst


def piped(path: Path) -> Samples:
    """A WAV as it comes from a pipe, mono."""
    stream = open_wav(Pipe(io.BytesIO(path.read_bytes())))
    return np.concatenate([*stream.blocks(1)]).mean(axis=1, dtype=np.float32)


def measure(form: Form, path: Path, page: Decode | None) -> Row:
    """One row."""
    written = noise(form.rate)
    form.write(path, written, form.rate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = compare(lambda: audio.read(path, form.rate), written)
    notes = [str(one.message).removeprefix(f"{path}: ") for one in caught]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stretch = Stretch(error="no file") if file.error else stretches(path, form.rate)
        length = 0 if file.error else round(audio.info(path).duration * form.rate) - len(written) - file.samples
        pipe = compare(lambda: piped(path), written) if form.name.endswith(".wav") else None
        with mock.patch.dict(sys.modules, {"av": None}):
            without = compare(lambda: audio.read(path, form.rate), written)
    return Row(form, file, length, stretch, pipe, without, page and in_page(page, path, form.rate, written), notes)


def in_page(page: Decode, path: Path, rate: int, written: Samples) -> Found:
    """What the page decodes; its browser may do so at another rate than the file's."""

    def decoded() -> Samples:
        found, samples = page(path.read_bytes())
        return audio.resample(samples, found, rate)

    return compare(decoded, written)


@contextmanager
def page_decoder() -> Iterator[Decode]:
    """The page's own decoding code in Chromium."""
    executable = browser.find()
    if executable is None:
        sys.exit("no Chromium here")
    with tempfile.TemporaryDirectory() as folder:
        library = {"entry": "tests/decoding.ts", "formats": ["iife"], "name": "page", "fileName": "decoding"}
        options = {"configFile": False, "logLevel": "error", "build": {"lib": library, "outDir": folder}}
        build = f"import('vite').then((vite) => vite.build({json.dumps(options)}))"
        subprocess.run(["node", "-e", build], cwd=WEB, check=True)
        code = next(Path(folder).glob("decoding*")).read_text(encoding="utf-8")
        with browser.browser(executable, Path(folder) / "profile") as tab:
            tab.run(f"(0, eval)({json.dumps(code)}), true")

            def decode(content: bytes) -> tuple[int, Samples]:
                rate, samples = tab.run(f"page.decoded('{base64.b64encode(content).decode()}')")
                return rate, np.frombuffer(base64.b64decode(samples), np.float32)

            yield decode


# ---- bounds and table -----------------------------------------------------------------------------------------


def faults(row: Row) -> list[str]:
    """Where a row is outside its bounds."""
    form, file = row.form, row.file
    if file.error:
        return [f"is not read: {file.error}"]
    found = []
    most = round(MOST_PADDING * form.rate) if form.padded else 0
    if not -form.early <= file.samples <= most:
        found.append(f"{file.samples:+} samples")
    if not -form.early <= file.lag <= most:
        found.append(f"lag {file.lag:+}")
    if abs(row.length) > MOST_LENGTH * form.rate:
        found.append(f"info gives {row.length:+} samples")
    found += [note for note in row.notes if "truncated" in note]
    if file.cosine < (LOSSLESS if form.cosine == 1 else form.cosine):
        found.append(f"cosine {file.cosine:.5f}")
    if not row.stretch.is_same:
        found.append(f"a stretch differs: {stretch_text(row.stretch)}")
    if row.pipe and not row.pipe.error and row.pipe != file:
        found.append(f"a pipe gives something else: {found_text(row.pipe)}")
    if row.without != file and not row.without.is_named:
        found.append(f"without av: {row.without.error or found_text(row.without)}")
    return found


def stretch_text(one: Stretch) -> str:
    """A stretch in a cell."""
    if one.is_same:
        return "same"
    if one.error:
        return "refused"
    parts = [f"lag {signed(one.lag)}"] if one.lag else []
    parts += [f"{signed(-one.missing)} samples"] if one.missing else []
    return ", ".join(parts) or f"differs by {one.difference:.2g}"


def found_text(one: Found) -> str:
    """Decoded samples in a cell."""
    if one.error:
        return "needs `av`" if one.is_named else "no"
    return f"{signed(one.samples)}, lag {signed(one.lag)}, {one.cosine:.4f}"


def signed(number: int) -> str:
    """A difference in a cell."""
    return f"{number:+,}" if number else "0"


def beside(one: Found | None, file: Found) -> str:
    """Another way of decoding in a cell, beside the file."""
    if one is None:
        return ""
    is_same = not one.error and (one.samples, one.lag) == (file.samples, file.lag)
    return "same" if is_same and abs(one.cosine - file.cosine) < SAME else found_text(one)


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| container | codec | rate | samples | lag | cosine | length | stretch | pipe | without `av` | page |",
        "| --- | --- | --: | --: | --: | --: | --: | --- | --- | --- | --- |",
    ]
    for row in rows:
        file = row.file
        numbers = ["", "", "no"] if file.error else [signed(file.samples), signed(file.lag), f"{file.cosine:.4f}"]
        cells = [
            row.form.container,
            row.form.codec,
            f"{row.form.rate}",
            *numbers,
            signed(row.length) if row.length else "same",
            stretch_text(row.stretch),
            beside(row.pipe, file),
            beside(row.without, file),
            beside(row.page, file),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--files", type=Path)
    given = parser.parse_args()
    rows = []
    with (
        tempfile.TemporaryDirectory() as temporary,
        page_decoder() if given.page else nullcontext() as page,
    ):
        folder = given.files or Path(temporary)
        folder.mkdir(exist_ok=True)
        rows = [measure(form, folder / form.name, page) for form in FORMS]
    print(table(rows))
    if given.write:
        before, _, rest = given.write.read_text(encoding="utf-8").partition(MARKS[0])
        text = f"{before}{MARKS[0]}\n\n{table(rows)}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"
        given.write.write_text(text, encoding="utf-8")
    if given.check:
        wrong = [f"{row.form.name}: {fault}" for row in rows for fault in faults(row)]
        sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()

"""Where finished parts of embeddings are kept: beside the table that they become, or as a data set of Parquet files."""

import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sondino.audio.crashes import crash_marks
from sondino.embedding.files import EmbedReport, Job, load_part, match_key, save_part, writing_to
from sondino.embedding.inputs import Input
from sondino.embedding.part_tables import MANIFEST, PART_NAMES, PARTS_FORMAT
from sondino.embedding.tables import TablePart, arrow_of
from sondino.errors import RunError, SondinoError, require
from sondino.files import make_folder, write_whole
from sondino.locks import lock_or_fail
from sondino.text import csv_of_dicts, escape, first_line

FACTS = b"sondino"
"""Of a part's Parquet schema: JSON with files, seconds of sound, and what was skipped."""


class Partial:
    """The parts of a table, in OUTPUT.partial, where `embed_table` finds them."""

    def __init__(self, output: Path, key: str, parts: int) -> None:
        self.output, self.folder, self.parts = output, output.with_name(output.name + ".partial"), parts
        with writing_to(output):
            self.folder.mkdir(parents=True, exist_ok=True)
            match_key(self.folder, key)

    def done(self) -> set[int]:
        """The parts that are whole."""
        return {number for number in range(self.parts) if load_part(self.folder, number) is not None}

    def save(self, number: int, part: TablePart) -> None:
        """Keep a part."""
        with writing_to(self.output):
            save_part(self.folder, number, part)

    def count(self, report: EmbedReport, numbers: Sequence[int]) -> None:
        """Count what some parts hold, whoever made them, in the report."""
        report.files, report.embeddings, report.seconds, report.skipped = 0, 0, 0.0, []
        for number in numbers:
            part = load_part(self.folder, number)
            if part is not None:
                report.add(part)


class DataSet:
    """A folder or an address of a store with a Parquet file for each part, and manifest.json, which makes them count.

    The name of a file has a hash of all that decides its rows. So what is there under its name need not be made again,
    and an archive that grows keeps the parts of its older files.
    """

    def __init__(
        self, output: str, job: Job, inputs: Sequence[str], files: Sequence[Input], bounds: Sequence[tuple[int, int]]
    ) -> None:
        self.output, self.job, self.inputs = f"{output.rstrip('/')}/", job, list(inputs)
        self.names = [
            f"part-{number:06d}-{job.key(files[first:last])[:12]}.parquet"
            for number, (first, last) in enumerate(bounds)
        ]
        self.folder = _Folder(output)
        # Names with a dot before them, as macOS leaves on foreign disks, are read by no such program.
        tables = [n for n in self.folder.list() if n.lower().endswith(".parquet") and not n.startswith(".")]
        foreign = [name for name in tables if not PART_NAMES.fullmatch(name)]
        if foreign:
            raise RunError(
                f"{self.output}{min(foreign)} is no part of this data set, and programs that read the folder would "
                "take it for one: move it away, or give another folder"
            )
        manifest = self.folder.read(MANIFEST)
        if manifest is not None:
            try:
                old = json.loads(manifest)
                settings = old["settings"] if old["format"] == PARTS_FORMAT else None
                before = list(old["inputs"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{self.output}{MANIFEST} is damaged: remove it, and run the command again") from error
            if settings != json.loads(json.dumps(job.settings())):
                raise RunError(f"{self.output} holds embeddings of another model or other options: give another folder")
            if before != self.inputs:  # parts of files that are not given are removed at the end
                raise RunError(
                    f"{self.output} holds embeddings of other inputs ({', '.join(before[:3])}): give the same, or "
                    "another folder; what is below an input may change"
                )

    def done(self) -> set[int]:
        """The parts that are whole."""
        there = set(self.folder.list())
        return {number for number, name in enumerate(self.names) if name in there}

    def save(self, number: int, part: TablePart) -> None:
        """Keep a part."""
        parquet = require("pyarrow.parquet", "tables")
        starts = part.starts if self.job.per_window else None
        channels = part.row_channels() if self.job.channel == "each" else None
        table = arrow_of(part.row_ids(), channels, starts, part.embeddings)
        facts = {"files": part.files, "seconds": part.seconds, "skipped": part.skipped}
        content = io.BytesIO()
        parquet.write_table(table.replace_schema_metadata({FACTS: json.dumps(facts).encode()}), content)
        self.folder.write(self.names[number], content.getvalue())

    def count(self, report: EmbedReport, numbers: Sequence[int]) -> list[int]:
        """Count what some parts hold, whoever made them, in the report; the rows of each."""
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(self._facts, (self.names[number] for number in numbers)))
        rows = [count for count, _ in found]
        report.files = sum(facts["files"] for _, facts in found)
        report.seconds = sum(facts["seconds"] for _, facts in found)
        report.skipped = [(path, reason) for _, facts in found for path, reason in facts["skipped"]]
        report.embeddings = sum(rows)
        return rows

    def finish(self, report: EmbedReport, left_out: Sequence[tuple[str, str]] = ()) -> None:
        """Write the manifest once all parts are there, and count them all in the report.

        Args:
            report: of the run.
            left_out: (path, reason) of what is in no part, since it was no file to read.

        Raises:
            SondinoError: no file could be decoded.
        """
        rows = self.count(report, range(len(self.names)))
        report.skipped = [*left_out, *report.skipped]
        if not report.files:
            path, reason = report.skipped[0]
            raise SondinoError(
                f"none of the files could be decoded, and {self.output} has no manifest; {path}: {reason}"
            )
        listed = [{"path": escape(path), "reason": reason} for path, reason in report.skipped]
        if listed:
            self.folder.write("skipped.csv", csv_of_dicts(listed).encode())
        elif "skipped.csv" in self.folder.list():
            self.folder.remove("skipped.csv")  # of files that have been repaired since, or are gone
        manifest = {
            "format": PARTS_FORMAT,
            "dim": self.job.model.dim,
            "rows": report.embeddings,
            "files": report.files,
            "seconds": round(report.seconds, 3),
            "skipped": len(report.skipped),
            "per_window": self.job.per_window,
            "settings": self.job.settings(),
            "inputs": self.inputs,
            "parts": [{"file": name, "rows": count} for name, count in zip(self.names, rows, strict=True)],
        }
        self.folder.write(MANIFEST, json.dumps(manifest, indent=1).encode())
        for name in self.folder.list():
            if PART_NAMES.fullmatch(name) and name not in self.names:
                self.folder.remove(name)  # of files that have changed since, or are gone

    def _facts(self, name: str) -> tuple[int, dict[str, Any]]:
        parquet = require("pyarrow.parquet", "tables")
        try:
            with self.folder.open(name) as opened, parquet.ParquetFile(opened) as file:
                facts: dict[str, Any] = json.loads(file.schema_arrow.metadata[FACTS])
                return file.metadata.num_rows, facts
        except Exception as error:  # pyarrow's, the store's, or JSON's
            raise RunError(f"{self.output}{name} is damaged ({first_line(error)}): remove it, and run the command again"
                           ) from error  # fmt: skip


class _Folder:
    """A folder here, or an address of an object store, where a file is whole or absent."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.here = None if "://" in output else make_folder(Path(output))
        if self.here is None:
            fsspec = require("fsspec", "remote")
            try:
                self.store, self.path = fsspec.core.url_to_fs(output)
            except Exception as error:
                raise RunError(f"{output}: cannot be opened ({first_line(error)})") from error
            self.path = self.path.rstrip("/")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SondinoError:
            raise
        except Exception as error:  # a store's own errors
            raise RunError(
                f"{self.output}: cannot be read or written ({type(error).__name__}: {first_line(error)}); what is done "
                "stays, and the same command resumes"
            ) from error

    def list(self) -> list[str]:
        """The names of the files in it."""
        if self.here is not None:
            return [file.name for file in self.here.iterdir()]
        with self._told():
            self.store.invalidate_cache()
            try:
                return [name.rsplit("/", 1)[-1] for name in self.store.ls(self.path, detail=False)]
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        try:
            if self.here is not None:
                return (self.here / name).read_bytes()
            with self._told():
                self.store.invalidate_cache()  # a listing of before would hide what has been written since
                return bytes(self.store.cat_file(f"{self.path}/{name}"))
        except FileNotFoundError:
            return None
        except RunError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def open(self, name: str) -> Any:
        """A file to read from."""
        if self.here is not None:
            return (self.here / name).open("rb")
        return self.store.open(f"{self.path}/{name}", "rb", block_size=1 << 16)

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is whole or absent: a store takes an object whole."""
        if self.here is not None:
            write_whole(self.here / name, content)
            return
        with self._told():
            self.store.pipe_file(f"{self.path}/{name}", content)

    def remove(self, name: str) -> None:
        """Remove a file."""
        if self.here is not None:
            (self.here / name).unlink(missing_ok=True)
            return
        with self._told():
            self.store.rm_file(f"{self.path}/{name}")


@contextmanager
def held(store: Partial | DataSet, name: str) -> Iterator[None]:
    """Keep other processes from making the same parts, where the parts are on a disk of this machine."""
    folder = store.folder if isinstance(store, Partial) else store.folder.here
    if folder is None:
        yield
        return
    with lock_or_fail(folder, name, "filling"), crash_marks(folder, name):
        yield

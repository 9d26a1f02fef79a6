"""Students in every runtime and precision, side by side, and what int8 costs.

    python benchmarks/edge.py BUNDLE... --calibrate AUDIO --labels LABELLED --out FOLDER [--against TEACHER...]

Each bundle is quantised on AUDIO and exported for LiteRT and ExecuTorch with a window of 10 s, where `make edge` has
built their environments; results in FOLDER from an earlier call are reused. Then `sondino bench` times each student
separately, all its combinations in turn, so that students can be timed in separate calls; run nothing else
meanwhile. Writes results/edge.csv, and results/int8.csv: cosine to the float embeddings and accuracy of a linear probe
on LABELLED. Rows of students that are not given are kept from an earlier call.
"""

import argparse
import csv
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from provenance import RESULTS, provenance, write_results
from sondino.benchmark.bench import bench
from sondino.benchmark.results import FIELDS, bench_rows, format_failures, format_notes, to_table
from sondino.errors import SondinoError
from sondino.exporters.quantize import quantize
from sondino.files import read_json

ROOT = Path(__file__).parents[1]
RUNTIMES = ("onnxruntime", "onnxruntime-graph", "openvino", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--against", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepare", action="store_true", help="quantise and export only")
    given = parser.parse_args()
    prepared = {}
    for bundle in given.bundles:
        name = read_json(bundle / "config.json")["student"]
        small = given.out / f"{name}-int8"
        models = [str(bundle), *_exports(bundle, name, given.calibrate, given.out)]
        try:
            if not small.exists():
                quantize(bundle, given.calibrate, small, labels=given.labels)
            models.insert(1, str(small))
            _write("int8", [_int8_row(name, bundle, small)])
        except SondinoError as error:
            print(f"{name} in int8: {error}")
        prepared[name] = models
    for name, models in prepared.items() if not given.prepare else ():
        done = bench(models, given.out / name, against=given.against, runtimes=RUNTIMES, rounds=given.rounds,
                     energy=False)  # fmt: skip
        Console(width=160).print(to_table(done), *format_notes(done), *format_failures(done), sep="\n")
        commit = provenance()["commit"]  # bench writes the rest
        rows: list[dict[str, Any]] = [
            {field: row.get(field) for field in FIELDS} | {"commit": commit} for row in bench_rows(done)
        ]
        _write("edge", [{"student": name, **row, "source": _place(row["source"])} for row in rows])


def _write(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write results/NAME.csv again, with these rows in place of older ones of the same students."""
    made, file = {row["student"] for row in rows}, RESULTS / f"{name}.csv"
    kept = []
    if file.exists():
        with file.open(newline="") as lines:
            kept = [row for row in csv.DictReader(lines) if row["student"] not in made]
    write_results(name, [*kept, *rows])


def _place(source: str) -> str:
    """A model's name without the folders that it lies in here."""
    file, mark, tensor = source.partition("#")
    return file.rpartition("/")[2] + mark + tensor


def _exports(bundle: Path, name: str, calibrate: Path, out: Path) -> list[str]:
    """Exports for the runtimes of `make edge`; one that fails is printed and left out."""
    made = []
    for to in ("litert", "executorch"):
        command = ROOT / ".edge" / to / "bin" / "sondino"
        for precision in ("f32", "int8") if command.exists() else ():
            folder = out / f"{name}-{to}-{precision}"
            calibrated = ["--calibrate", str(calibrate)] if precision == "int8" else []
            order = [str(command), "export", str(bundle), "--to", to, "--precision", precision, "--window", "10"]
            if not folder.exists():
                ran = subprocess.run([*order, *calibrated, "--out", str(folder)], stderr=subprocess.PIPE, text=True)
                if ran.returncode:
                    print(f"{name} for {to} in {precision}: {ran.stderr.strip().splitlines()[-1]}")
                    continue
            made.append(str(folder))
    return made


def _int8_row(name: str, bundle: Path, small: Path) -> dict[str, Any]:
    facts = json.loads((small / "config.json").read_text())["quantized"]
    verified, probe = facts["verified"], facts["probe"]
    return {
        "student": name,
        "layers": facts["layers"],
        "kept_in_float": len(facts["kept_in_float"]),
        "weights_alone": facts["stored"],
        "unsteady_clips": facts["unsteady_clips"],
        "f32_mb": f"{(bundle / 'model.onnx').stat().st_size / 1e6:.2f}",
        "int8_mb": f"{(small / 'model.onnx').stat().st_size / 1e6:.2f}",
        "clips": verified["clips"],
        "cosine": f"{verified['cosine']:.5f}",
        "cosine_lowest": f"{verified['cosine_lowest']:.5f}",
        "neighbours_kept": f"{verified['neighbours']:.3f}",
        "probe_f32": f"{probe['f32']:.3f}",
        "probe_int8": f"{probe['int8']:.3f}",
        "probe_clips": probe["clips"],
        **provenance("torch", "onnxruntime", "onnx"),
    }


if __name__ == "__main__":
    main()

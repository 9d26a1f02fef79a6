"""The tables of docs/results.md on pruning, from the committed results."""

import csv
import re
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SCORES = ("operator-norm", "l1", "geometric-median", "taylor")
OTHERS = {"distilled from scratch": "distilled from scratch", "randomly initialised": "untrained"}
"""Heading -> value of the column `recovery`."""
SHOWN = (
    (r"(\d+)% of the filters less", r"\1 % fewer filters"),
    ("learned parts", "learned components"),
    ("as long as wide one and recovery", "for as long as the wide student and recovery"),
    ("as long as recovery", "for as long as recovery"),
    ("recovery: itself", "recovery: from the unpruned student"),
    ("recovery: teacher", "recovery: from the teacher"),
    ("recovery: none", "no recovery"),
    ("^wide$", "wide, width 1"),
)
"""What the files say -> what the tables say."""


def _read(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(text: str) -> str:
    for pattern, better in SHOWN:
        text = re.sub(pattern, better, text)
    return text


def _percent(value: str) -> str:
    return f"{100 * float(value):.1f}"


def pruned_cnn14() -> list[str]:
    """Sizes and times of CNN14 and its quaternion forms."""
    lines = [
        _line("network", "parameters", "MACs for 10 s", "PyTorch", "ONNX Runtime"),
        _line(*["---"] * 5),
    ]
    for row in _read("prune_cnn14"):
        share = {name: f"{100 * float(row[f'{name}_share']):.0f} %" for name in ("parameters", "macs")}
        sizes = [
            f"{float(row['parameters']) / 1e6:.2f} M ({share['parameters']})",
            f"{float(row['macs_per_10s']) / 1e9:.2f} G ({share['macs']})",
        ]
        for runtime in ("torch", "onnxruntime"):
            sizes.append(f"{float(row[f'{runtime}_ms']):.0f} ms ({100 * float(row[f'{runtime}_share']):.0f} %)")
        lines.append(_line(_shown(row["net"]), *sizes))
    return lines


def pruned_student() -> list[str]:
    """The wide student and its pruned forms, and narrow students distilled from scratch."""
    lines = [_line("model", "parameters", "MACs for 10 s", "ESC-10"), _line(*["---"] * 4)]
    for row in _read("prune_student"):
        interval = f"({_percent(row['interval_low'])} to {_percent(row['interval_high'])})"
        sizes = f"{float(row['parameters']) / 1e6:.2f} M", f"{float(row['macs_per_10s']) / 1e6:.0f} M"
        lines.append(_line(_shown(row["model"]), *sizes, f"{_percent(row['accuracy'])} % {interval}"))
    return lines


def pruned_esc10() -> list[str]:
    """Probe accuracy by score and ratio: pruned, with BatchNorm recalibrated, fine-tuned."""
    rows = _read("prune_esc10")
    lines = [
        _line("network", "filters removed", "parameters", "MACs for 10 s", *SCORES, *OTHERS),
        _line(*["---"] * 10),
    ]
    for net, ratio in sorted({(row["net"], float(row["ratio"])) for row in rows}):
        same = [row for row in rows if (row["net"], float(row["ratio"])) == (net, ratio)]
        found = {(row["score"], row["recovery"]): _percent(row["probed"]) for row in same}
        sizes = f"{float(same[0]['parameters']) / 1e6:.2f} M", f"{float(same[0]['macs_per_10s']) / 1e6:.0f} M"
        if ratio == 0:
            cells = [f"{found['', 'unpruned']} %", *[""] * 5]
        else:
            steps = ("none", "norms settled", "fine-tuned")
            cells = [f"{' → '.join(found[score, step] for step in steps)} %" for score in SCORES]
            cells += [f"{found['', how]} %" for how in OTHERS.values()]
        lines.append(_line(_shown(net), f"{100 * ratio:.0f} %" if ratio else "none", *sizes, *cells))
    return lines


def tables() -> dict[tuple[str, str], list[str]]:
    """By file and mark, the lines."""
    return {
        ("docs/results.md", "prune_cnn14.csv"): pruned_cnn14(),
        ("docs/results.md", "prune_esc10.csv"): pruned_esc10(),
        ("docs/results.md", "prune_student.csv"): pruned_student(),
    }

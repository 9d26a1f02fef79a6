"""The tables of docs/compressing.md and of the README as the committed results give them."""

import csv
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SCORES = ("operator-norm", "l1", "geometric-median", "taylor")


def _read(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: str) -> str:
    return f"{100 * float(value):.1f}"


def pruned_cnn14() -> list[str]:
    """Sizes and times of CNN14 and its quaternion twins."""
    lines = [
        _line("net", "parameters", "MACs for 10 s", "PyTorch", "ONNX Runtime"),
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
        lines.append(_line(row["net"], *sizes))
    return lines


def pruned_student() -> list[str]:
    """Wide and pruned against narrow and distilled from scratch."""
    lines = [_line("model", "parameters", "MACs for 10 s", "ESC-10"), _line(*["---"] * 4)]
    for row in _read("prune_student"):
        interval = f"({_percent(row['interval_low'])} to {_percent(row['interval_high'])})"
        sizes = f"{float(row['parameters']) / 1e6:.2f} M", f"{float(row['macs_per_10s']) / 1e6:.0f} M"
        lines.append(_line(row["model"], *sizes, f"{_percent(row['accuracy'])} % {interval}"))
    return lines


def pruned_esc10() -> list[str]:
    """Real and quaternion nets by score and ratio, probed as they are, with norms settled, fine-tuned."""
    rows = _read("prune_esc10")
    lines = [
        _line("net", "filters left out", "parameters", "MACs for 10 s", *SCORES, "distilled from scratch", "untrained"),
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
            cells += [f"{found['', how]} %" for how in ("distilled from scratch", "untrained")]
        lines.append(_line(net, f"{100 * ratio:.0f} %" if ratio else "none", *sizes, *cells))
    return lines


def tables() -> dict[tuple[str, str], list[str]]:
    """By file and mark, the lines."""
    return {
        ("docs/compressing.md", "prune_cnn14.csv"): pruned_cnn14(),
        ("docs/compressing.md", "prune_esc10.csv"): pruned_esc10(),
        ("README.md", "prune_student.csv"): pruned_student(),
    }

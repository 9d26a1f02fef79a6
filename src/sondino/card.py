"""The model card in Markdown: what a model is, what it came from, what it keeps, how to use it."""

from collections.abc import Mapping
from typing import Any

UNKNOWN = "not known to sondino; ask its makers before you share this model"


def card(config: Mapping[str, Any], onnx_bytes: int) -> str:
    """The card of a bundle.

    Args:
        config: all of its config.json.
        onnx_bytes: size of its model.onnx.
    """
    rows = {
        "architecture": f"{config['student']}, width {config['width']:g}",
        "vector": f"{config['dim']} numbers for each {config['window']:g} s of {config['sample_rate']} Hz mono sound",
        "clips under a window": config["short"],
        "parameters": f"{config['parameters']:,}",
        "multiply-adds for 10 s": f"{config['macs_per_10s'] / 1e6:,.0f} M (front-end not counted)",
        "model.onnx": f"{onnx_bytes / 1e6:.1f} MB, raw waveform in, vector out; within "
        f"{config['onnx_difference']:.1e} of the trained net",
    }
    source, head = config.get("source"), config.get("head")
    lines = [
        f"# {config['name']}",
        "",
        "A small audio model " + ("converted" if source else "distilled") + " with sondino.",
        "",
        *_table(rows),
        *(_source(source) if source else []),
        *(["", "## Teachers", *_teachers(config)] if not source or config.get("teachers") else []),
        *(_head(head) if head else []),
        *([] if source else ["", "## Data", _list(config.get("data", {})) or "not recorded"]),
        *_scores(config),
        "",
        "## Use",
        "```python",
        "import sondino",
        'model = sondino.load("path/to/this/folder")',
        'vectors = model.embed(["a.wav", "b.ogg"])',
        *(['probabilities = model.classify(["a.wav", "b.ogg"])  # in the order of model.head.labels'] if head else []),
        "```",
        "",
        "## Hashes (SHA-256)",
        *[f"- {file}: `{digest}`" for file, digest in config["hashes"].items()],
        "",
    ]
    return "\n".join(lines)


def _table(rows: Mapping[str, Any]) -> list[str]:
    return ["| | |\n| --- | --- |", *[f"| {name} | {value} |" for name, value in rows.items()]]


def _list(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in values.items())


def _source(source: Mapping[str, Any]) -> list[str]:
    rows = {
        "published as": source.get("kind"),
        "file": f"`{source.get('file')}`, SHA-256 `{source.get('sha256')}`",
        "from": source.get("url"),
        "licence of its weights": source.get("licence") or UNKNOWN,
        "left out": "; ".join(source.get("dropped") or []),
    }
    return ["", "## Source", *_table({name: value for name, value in rows.items() if value})]


def _teachers(config: Mapping[str, Any]) -> list[str]:
    rows = []
    for teacher in config.get("teachers", []):
        facts = [f"{teacher['dim']} dimensions"] if teacher.get("dim") else []
        facts += [f"{teacher['sample_rate']} Hz"] if teacher.get("sample_rate") else []
        about = f": {' at '.join(facts)}" if facts else ""
        rows.append(f"- `{teacher['spec']}`{about}. Licence of its weights: {teacher.get('licence') or UNKNOWN}.")
    return rows or ["- none: trained on labels"]


def _head(head: Mapping[str, Any]) -> list[str]:
    labels = head["labels"]
    shown = ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
    kind = "a probability each" if head.get("multi_label") else "probabilities that sum to 1"
    rows = {"name": head.get("name"), "labels": f"{len(labels)}, {kind}: {shown}", "note": head.get("note")}
    return ["", "## Head", *_table({name: value for name, value in rows.items() if value})]


def _scores(config: Mapping[str, Any]) -> list[str]:
    scores = {name.replace("_", " "): value for name, value in config.get("scores", {}).items()}
    if scores:
        return ["", "## Scores on held-out clips", *_table(scores)]
    return [] if config.get("source") else ["", "## Scores on held-out clips", "none: nothing was held out"]

"""The model card in Markdown: architecture, source, agreement with the trained net, scores, use."""

from collections.abc import Mapping
from typing import Any

from sondino.metrics.verdicts import of_count, of_int8, of_score
from sondino.text import markdown, markdown_code, markdown_facts, megabytes

_NORM_OUTLIERS = "whose embeddings by the trained net have over 30 times the usual norm (trained too briefly?)"
UNKNOWN = "not known to sondino; ask its makers before you share this model"


def card(config: Mapping[str, Any], onnx_bytes: int) -> str:
    """The card of a bundle.

    Args:
        config: all of its config.json.
        onnx_bytes: size of its model.onnx.
    """
    rows = {
        "architecture": f"{markdown(config['student'])}, width {config['width']:g}",
        **({"backbone": f"that of {markdown(config['backbone'])}"} if config.get("backbone") else {}),
        "embedding": f"{config['dim']} dimensions per {config['window']:g} s of {config['sample_rate']} Hz mono audio",
        "clips under a window": config["short"],
        "parameters": f"{config['parameters']:,}",
        "multiply-adds for 10 s": f"{config['macs_per_10s'] / 1e6:,.0f} M (front-end not counted)",
        "model.onnx": f"{megabytes(onnx_bytes)}, raw waveform in, embedding out{_agreement(config)}",
    }
    source, head = config.get("source"), config.get("head")
    lines = [
        f"# {markdown(config['name'])}",
        "",
        "A small audio model " + ("converted" if source else "distilled") + " with sondino.",
        "",
        markdown_facts(rows),
        *(_quantized(config["quantized"]) if "quantized" in config else []),
        *(_pruned(config, config["pruned"]) if "pruned" in config else []),
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
        'embeddings = model.embed(["a.wav", "b.ogg"])',
        *(['probabilities = model.classify(["a.wav", "b.ogg"])  # in the order of model.head.labels'] if head else []),
        "```",
        "",
        "## Hashes (SHA-256)",
        *[f"- {markdown(file)}: {markdown_code(digest)}" for file, digest in config["hashes"].items()],
        "",
    ]
    return "\n".join(lines)


def _agreement(config: Mapping[str, Any]) -> str:
    difference = config.get("onnx_difference")
    return "" if "quantized" in config or difference is None else f"; within {difference:.1e} of the trained net"


def _quantized(facts: Mapping[str, Any]) -> list[str]:
    rows = {
        "made of": _made_of(facts, "model.onnx"),
        "in float": f"the front-end, and the {len(facts['kept_in_float'])} of {facts['layers']} layers that lose most",
        **_mixed(facts),
        **(verified_rows(facts["verified"]) if "verified" in facts else {}),
        "linear probe": _probe(facts["probe"]) if "probe" in facts else "not measured",
    }
    return ["", "## Quantised to int8", markdown_facts(rows)]


def _made_of(facts: Mapping[str, Any], file: str) -> str:
    return f"{markdown(facts['from'])}, whose {file} has SHA-256 {markdown_code(facts['from_sha256'])}"


def _mixed(facts: Mapping[str, Any]) -> dict[str, str]:
    """Rows about dynamic kernels and norm outliers, of nets that have them."""
    stored, outliers = facts.get("stored", 0), facts.get("unsteady_clips", 0)
    kernels = f"{stored} layers whose kernels are mixed for each clip: stored in int8, computed in float"
    return {
        **({"weights alone in int8": kernels} if stored else {}),
        **({"clips not calibrated on": f"{outliers}, {_NORM_OUTLIERS}"} if outliers else {}),
    }


def _pruned(config: Mapping[str, Any], facts: Mapping[str, Any], title: str = "Pruned") -> list[str]:
    where = f"layers {markdown(facts['layers'])}" if facts["layers"] else "all layers but the last"
    how = "ranked as one list" if facts["together"] else "of each layer"
    before, recovery = facts["parameters_before"], facts["recovery"]
    rows = {
        "made of": _made_of(facts, "model.safetensors"),
        "pruned": f"{facts['ratio']:.0%} of the filters, {how}, by {markdown(facts['score'])}, in {where}",
        "steps": facts["steps"],
        "parameters": f"{config['parameters']:,} of {before:,} ({config['parameters'] / before:.0%})",
        "multiply-adds": f"{config['macs_per_10s'] / facts['macs_per_10s_before']:.0%} of those before",
        "BatchNorm statistics": f"recalibrated on {markdown(facts['norms_settled_on'])}",
        "recovery": f"{recovery['epochs']} epochs after each step, by {markdown(recovery['by'])}"
        if recovery
        else "none",
        "layers not pruned": ", ".join(map(markdown, facts["left_whole"])) or "none of those asked for",
        "mean pairwise cosine": f"{facts['alike']:.4f}, between embeddings of different clips",
    }
    if not facts["before"]:
        return ["", f"## {title}", markdown_facts(rows)]
    sizes = {"parameters": before, "macs_per_10s": facts["macs_per_10s_before"]}
    return ["", f"## {title}", markdown_facts(rows), *_pruned({**config, **sizes}, facts["before"], "Before, pruned")]


def _probe(probe: Mapping[str, Any]) -> str:
    lost = probe["f32"] - probe["int8"]
    change = f"loses {lost:.1%}" if lost > 0 else "loses nothing"
    return (
        f"{markdown(probe['metric'])} {probe['f32']:.1%} in f32, {probe['int8']:.1%} in int8 "
        + f"on {probe['clips']} clips: {change}"
        + (", where int8 should lose under a point" if lost >= 0.01 else "")
        + "".join(f"; {verdict}" for verdict in of_int8(probe))
    )


def verified_rows(verified: Mapping[str, Any]) -> dict[str, str]:
    """Agreement with the trained net, as rows of a card's table."""
    signals = ", ".join(f"{markdown(name)} {values['cosine']:.5f}" for name, values in verified["signals"].items())
    rounding = verified.get("rounding")
    warning = "" if verified["cosine"] >= 0.99 else " (below the 0.99 that int8 should reach)"
    return {
        "checked on": f"{verified['clips']} real clips of {verified['seconds']:.3g} s, beside the trained net",
        "cosine": f"{verified['cosine']:.6f} on average{warning}, {verified['cosine_lowest']:.6f} at the lowest",
        "largest difference": f"{verified['difference']:.1e} of the largest value",
        "10-NN overlap with the trained net": f"{verified['neighbours']:.1%}",
        "cosine on synthetic signals": signals,
        **({"clips not compared": f"{verified['unsteady']}, {_NORM_OUTLIERS}"} if verified.get("unsteady") else {}),
        **({"moved as far by float32 rounding": f"{rounding} clips or signals, not compared"} if rounding else {}),
    }


def _list(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{markdown(name.replace('_', ' '))}: {markdown(value)}" for name, value in values.items())


def _source(source: Mapping[str, Any]) -> list[str]:
    rows = {
        "published as": markdown(source.get("kind") or ""),
        "file": f"{markdown_code(source.get('file'))}, SHA-256 {markdown_code(source.get('sha256'))}",
        "from": markdown(source.get("url") or ""),
        "licence of its weights": markdown(source.get("licence") or UNKNOWN),
        "left out": "; ".join(map(markdown, source.get("dropped") or [])),
    }
    return ["", "## Source", markdown_facts({name: value for name, value in rows.items() if value})]


def _teachers(config: Mapping[str, Any]) -> list[str]:
    rows = []
    for teacher in config.get("teachers", []):
        facts = [f"{teacher['dim']} dimensions"] if teacher.get("dim") else []
        facts += [f"{teacher['sample_rate']} Hz"] if teacher.get("sample_rate") else []
        about = f": {' at '.join(facts)}" if facts else ""
        licence = markdown(teacher.get("licence") or UNKNOWN)
        digest = f" Its file's SHA-256: {markdown_code(teacher['sha256'])}." if teacher.get("sha256") else ""
        rows.append(f"- {markdown_code(teacher['spec'])}{about}. Licence of its weights: {licence}.{digest}")
    return rows or ["- none: trained on labels"]


def _head(head: Mapping[str, Any]) -> list[str]:
    labels = head["labels"]
    shown = ", ".join(map(markdown, labels[:12])) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
    kind = "a probability each" if head.get("multi_label") else "probabilities that sum to 1"
    rows = {
        "name": markdown(head.get("name") or ""),
        "labels": f"{len(labels)}, {kind}: {shown}",
        "note": markdown(head.get("note") or ""),
    }
    return ["", "## Head", markdown_facts({name: value for name, value in rows.items() if value})]


def _scores(config: Mapping[str, Any]) -> list[str]:
    scores = {markdown(name.replace("_", " ")): markdown(value) for name, value in config.get("scores", {}).items()}
    if scores:
        verdicts = [f"Of the head: {verdict}" for verdict in of_score(config.get("head_score") or {})]
        held_out = (config.get("data") or {}).get("held_out")
        few = of_count(held_out) if isinstance(held_out, int) else None
        verdicts += [f"Of the distillation: {few}"] if few else []
        lines = [line for each in verdicts for line in ("", f"{each}.")]
        return ["", "## Scores on held-out clips", markdown_facts(scores), *lines]
    return [] if config.get("source") else ["", "## Scores on held-out clips", "none: nothing was held out"]

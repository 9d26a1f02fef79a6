"""The training curves of a run: plots that the page's script draws, and a table of what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from sondino.reporting.html import number, scrolling, section, text
from sondino.text import distinct_texts

Row = Mapping[str, Any]


def curves(metrics: Sequence[Row]) -> dict[str, Any] | None:
    """The two plots as the page's script reads them, or None where nothing was measured."""
    if not metrics:
        return None
    # A run that was stopped and resumed may have written an epoch twice: the later line counts.
    by_epoch = {(float(i + 1) if (e := number(row.get("epoch"))) is None else e): row for i, row in enumerate(metrics)}
    epochs = sorted(by_epoch)
    metrics = [by_epoch[epoch] for epoch in epochs]
    keys = list(dict.fromkeys(key for row in metrics for key in row))

    def chart(title: str, names: Mapping[str, str]) -> dict[str, Any]:
        found = [key for key in keys if any(key == name or key.startswith(f"{name}_") for name in names)]
        series: list[dict[str, Any]] = []
        for key in found:
            values = [number(row.get(key)) for row in metrics]
            if any(value is not None for value in values):
                name = names.get(key, key.replace("_", " "))
                series.append({"name": name, "values": values, "colour": len(series)})
        return {"title": title, "series": series}

    charts = [
        chart("Loss", {"loss": "training", "validation_loss": "held-out clips"}),
        chart(
            "Agreement with the teacher, held-out clips",
            {
                "validation_cosine": "cosine",
                "validation_overlap": "10-NN overlap",
                "validation_overlap_by_chance": "10-NN overlap by chance",
            },
        ),
        chart(
            "The corpus's labels, held-out clips",
            {
                "validation_accuracy": "accuracy",
                "validation_mAP": "mAP",
                "validation_mAP_by_chance": "mAP by chance",
            },
        ),
    ]
    charts = [plot for plot in charts if plot["series"]]
    return {"unit": "epoch", "places": epochs, "charts": charts} if charts else None


def curves_section(plots: Mapping[str, Any] | None, title: str = "Training", note: str = "") -> str:
    """The section that the curves are drawn in.

    Args:
        plots: the unit of training ("epoch"), the places in it of all values, and the charts, each with a title and
            its series: name, values (None: not measured), colour, and for a dashed line dash; None: nothing.
        title: of the section.
        note: under it, as text.
    """
    if plots is None:
        return ""
    figures = []
    for plot in plots["charts"]:
        keys = "".join(
            f'<span><i style="color:var(--c{s["colour"]})"></i>{text(s["name"])} <b></b></span>' for s in plot["series"]
        )
        ranges = []
        for s in plot["series"]:
            known = [value for value in s["values"] if value is not None]
            first, last = distinct_texts([known[0], known[-1]], lambda value, digits: f"{value:.{digits}g}", 4)
            ranges.append(f"{s['name']} goes from {first} to {last}")
        label = text(f"{plot['title']} over {len(plots['places'])} {plots['unit']}s: {'; '.join(ranges)}.")
        figures.append(
            f'<figure class="curves"><figcaption><h3>{text(plot["title"])}</h3><div class="keys">{keys}</div>'
            f'</figcaption><div class="chart"><svg role="img" aria-label="{label}"></svg>'
            '<div class="tip" hidden></div></div></figure>'
        )
    return section("curves", title, f'<div class="charts">{"".join(figures)}</div>', note)


def _column(values: Sequence[object]) -> list[str]:
    """A column as text: five digits of a number, and more where numbers would read the same."""
    known = [value for one in values if (value := number(one)) is not None]
    texts = iter(distinct_texts(known, lambda value, digits: f"{value:.{digits}g}", 5))
    return [next(texts) if number(one) is not None else "–" if one is None else str(one) for one in values]


def metrics_table(metrics: Sequence[Row], what: str = "epochs") -> str:
    """All lines of metrics as a table, closed at first."""
    if not metrics:
        return ""
    keys = list(dict.fromkeys(key for row in metrics for key in row))
    heads = "".join(f'<th scope="col">{text(key.replace("_", " "))}</th>' for key in keys)
    columns = [_column([row.get(key) for row in metrics]) for key in keys]
    body = ""
    for cells in zip(*columns, strict=True):
        body += "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in cells) + "</tr>"
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details><summary>All {text(what)}</summary>{scrolling(f'Table of all {what}', table)}</details>"

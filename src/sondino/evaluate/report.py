"""The report of a run: one HTML file that shows the results, the curves and a map of the vectors that can be heard.

Nothing is loaded from the network: style, script, data and sound are inside the file. The plots are drawn by a
small script of our own rather than by a plotting library, which keeps 4.5 MB for the sounds.
"""

import html
import json
import math
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import OptionError, require
from .excerpt import data_uri, excerpt, mp3, outline
from .table import headline_numbers, headline_section, results_section

MAP_POINTS = 2000
SOUNDS = 400
SOUND_BYTES = 8_000_000

_COLOURS, _SHAPES = 10, 5  # as in report.css and report.js
_ASSETS = Path(__file__).parent / "page"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Points:
    """What the map shows.

    Attributes:
        coordinates: (n, 2) as from `map_2d`; rows with NaN are left out.
        clusters: (n,) cluster of each clip; -1 for none.
        ids: (n,) name of each clip.
        labels: (n,) label of each clip, where there are any; the map can then be coloured by label too.
        audio: mono waveforms, float32 (samples,) or None where there is no sound: a sequence of n, or a function
            from row to waveform, which is asked for at most 400 rows so that a large corpus need not be in memory.
        sample_rate: of the waveforms, in Hz.
    """

    coordinates: NDArray[np.floating]
    clusters: NDArray[np.integer] | Sequence[int]
    ids: Sequence[str]
    labels: Sequence[str] | None = None
    audio: Sequence[NDArray[np.floating] | None] | Callable[[int], NDArray[np.floating] | None] | None = None
    sample_rate: int = 24000


def write_report(
    file: Path,
    title: str,
    summary_rows: Sequence[Row],
    metrics: Sequence[Row],
    points: Points | None,
    recipe: Mapping[str, Any],
    versions: Mapping[str, Any],
    lead: str = "",
) -> None:
    """Write the page, replacing `file` only once it is whole.

    Args:
        file: where to; its folder must exist.
        title: heading of the page.
        summary_rows: the results table, one dict a row. Columns that are known get a title, a unit and a place:
            model, role ("teacher", "student", "untrained", "chance"), parameters, file_bytes, macs_per_10s,
            milliseconds_per_10s, cosine, neighbour_overlap, probe_accuracy (0 to 1), probe_interval95 (low, high).
            Any other is shown under its own name; None is shown as a dash. The headline numbers compare the
            first student with the first teacher.
        metrics: one dict an epoch: epoch, loss, validation_cosine, validation_overlap, learning_rate, seconds; more
            keys are listed in the table of epochs.
        points: the map; None leaves it out.
        recipe: the settings, nested as they are.
        versions: of what made the run.
        lead: a sentence under the title.

    Raises:
        OptionError: the parts of `points` differ in length.
    """
    data: dict[str, Any] = {}
    map_html = ""
    if points is not None:
        data["points"], left_out = _map_data(points)
        map_html = _map_section(data["points"], left_out)
    curves = _curves(metrics)
    if curves:
        data["curves"] = curves
    page = string.Template((_ASSETS / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        skip='<a class="skip" href="#results">Skip to the results</a>' if summary_rows else "",
        lead=f'<p class="lead">{html.escape(lead)}</p>' if lead else "",
        headline=headline_section(headline_numbers(summary_rows, metrics)),
        map=map_html,
        results=results_section(summary_rows),
        curves=_curves_section(curves) if curves else "",
        details=_details_section(metrics, recipe, versions),
        version=html.escape(__version__),
        css=(_ASSETS / "report.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "report.js").read_text(encoding="utf-8"),
        # No "<" may stand in a script element: a clip could be named "</script>".
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )
    part = file.with_name(f".{file.name}.part")
    part.write_text(page, encoding="utf-8")
    part.replace(file)


def map_2d(vectors: NDArray[np.floating], seed: int = 0, limit: int = MAP_POINTS) -> NDArray[np.float32]:
    """Vectors laid out on a plane, neighbours by cosine kept together (t-SNE; PCA under 10 vectors).

    Args:
        vectors: (n, dim).
        seed: of the sample and of the layout.
        limit: most points laid out. Of more vectors a sample drawn by `seed` is; the other rows are NaN, and
            `write_report` leaves those out.

    Returns:
        (n, 2) coordinates. Rows whose vector holds NaN are NaN too.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    out = np.full((len(vectors), 2), np.nan, np.float32)
    rows = np.arange(len(vectors))
    if len(rows) > limit:
        # Twice as many as are wanted, for some may hold NaN; the whole matrix may be too large to look through.
        rows = np.random.default_rng(seed).permutation(rows)[: 2 * limit]
    rows = np.sort(rows[np.isfinite(vectors[rows]).all(axis=1)][:limit])
    if not len(rows):
        return out
    x = np.asarray(vectors[rows], np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    x -= x.mean(axis=0)
    # On the unit sphere Euclidean distance orders pairs as cosine does. The 50 main directions hold nearly all of
    # it and make t-SNE's neighbour search quick; the first two are where it starts from.
    main = _main_directions(x)[:, :50]
    plane = np.zeros((len(x), 2))
    plane[:, : main.shape[1]] = main[:, :2]
    spread = float(plane[:, 0].std())
    if len(x) >= 10 and spread > 1e-9:
        manifold = require("sklearn.manifold", "report")
        start = (plane / spread * 1e-4).astype(np.float32)
        # The usual 30 neighbours blur the groups of a small set into one cloud.
        perplexity = min(30.0, max(5.0, math.sqrt(len(x))), (len(x) - 1) / 3)
        plane = manifold.TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(main)
    if len(x) > 1:
        # The layout may be turned freely: its longest direction goes across the page.
        plane = plane - plane.mean(axis=0)
        plane = plane @ np.linalg.svd(plane, full_matrices=False)[2].T
    out[rows] = plane
    return out


def _main_directions(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred rows in the coordinates of their principal directions, strongest first."""
    n, dim = x.shape
    # The smaller of the two products: 2,000 vectors of 3,840 numbers take a third of the time of an SVD.
    values, directions = np.linalg.eigh(x @ x.T if n < dim else x.T @ x)
    strongest = directions[:, ::-1]
    return strongest * np.sqrt(np.maximum(values[::-1], 0.0)) if n < dim else x @ strongest


def _map_data(points: Points) -> tuple[dict[str, Any], int]:
    """The map as the page's script reads it, and how many clips had no place on it."""
    xy = np.asarray(points.coordinates, np.float64)
    clusters = np.asarray(points.clusters, np.int64)
    sizes = {"coordinates": len(xy), "clusters": len(clusters), "ids": len(points.ids)}
    if points.labels is not None:
        sizes["labels"] = len(points.labels)
    if points.audio is not None and not callable(points.audio):
        sizes["audio"] = len(points.audio)
    if len(set(sizes.values())) > 1 or xy.shape[1:] != (2,):
        raise OptionError(f"the map's parts must have one length and two coordinates, not {sizes}, {xy.shape}")

    rows: list[int] = np.flatnonzero(np.isfinite(xy).all(axis=1)).tolist()
    xy, clusters = xy[rows], clusters[rows]
    labels = None if points.labels is None else [str(points.labels[i]) for i in rows]
    low = xy.min(axis=0) if len(xy) else np.zeros(2)
    span = np.maximum((xy.max(axis=0) - low) if len(xy) else np.ones(2), 1e-6)
    unit = (xy - low) / span.max()
    size = np.maximum(span / span.max(), 1e-3)

    modes = [_mode("cluster", clusters.tolist(), _cluster_names(clusters, labels), unit)]
    if labels is not None:
        modes.append(_mode("label", labels, {label: label for label in sorted(set(labels))}, unit))
    sounds, outlines = _sounds(points, rows, clusters)
    return {
        "x": unit[:, 0].round(4).tolist(),
        "y": unit[:, 1].round(4).tolist(),
        "width": round(float(size[0]), 4),
        "height": round(float(size[1]), 4),
        "id": [str(points.ids[i]) for i in rows],
        "audio": sounds,
        "outline": outlines,
        "modes": modes,
    }, len(points.ids) - len(rows)


def _cluster_names(clusters: NDArray[np.int64], labels: list[str] | None) -> dict[int, str]:
    """A name for each cluster: its number, and what is mostly in it where there are labels."""
    names = {}
    for cluster in np.unique(clusters).tolist():
        name = "no cluster" if cluster < 0 else f"cluster {cluster}"
        if labels is not None and cluster >= 0:
            inside = [label for label, own in zip(labels, clusters.tolist(), strict=True) if own == cluster]
            most = Counter(inside).most_common(2)
            share = most[0][1] / len(inside)
            told = (
                most[0][0] if share == 1 else f"mostly {most[0][0]}" if share > 0.5 else ", ".join(m for m, _ in most)
            )
            name = f"{cluster} · {told}"
        names[cluster] = name
    return names


def _mode(title: str, of: Sequence[Any], names: Mapping[Any, str], unit: NDArray[np.float64]) -> dict[str, Any]:
    """One way to colour the map: the group of each point, and each group's name, size, colour and shape.

    Groups side by side must not look alike, so each takes, largest first, the colour whose other groups lie
    furthest away; a colour's second group gets another shape.
    """
    keys = list(names)
    index = {key: g for g, key in enumerate(keys)}
    group = np.array([index[key] for key in of], int)
    sizes = np.bincount(group, minlength=len(keys))
    centres = np.array([unit[group == g].mean(axis=0) for g in range(len(keys))]).reshape(-1, 2)
    taken: list[list[int]] = [[] for _ in range(_COLOURS)]
    groups: list[dict[str, Any]] = [{} for _ in keys]
    for g in np.argsort(-sizes, kind="stable").tolist():
        fewest = min(len(colour) for colour in taken)
        free = [c for c in range(_COLOURS) if len(taken[c]) == fewest]
        gaps = [min((float(np.linalg.norm(centres[g] - centres[o])) for o in taken[c]), default=math.inf) for c in free]
        colour = free[int(np.argmax(gaps))]
        groups[g] = {
            "name": names[keys[g]],
            "size": int(sizes[g]),
            "colour": colour,
            "shape": len(taken[colour]) % _SHAPES,
        }
        taken[colour].append(g)
    return {"name": title, "of": group.tolist(), "groups": groups}


def _sounds(
    points: Points, rows: list[int], clusters: NDArray[np.int64]
) -> tuple[list[str | None], list[list[int] | None]]:
    """Data URIs and outlines of the clips that are heard: every cluster in turn, until the page has enough."""
    sounds: list[str | None] = [None] * len(rows)
    outlines: list[list[int] | None] = [None] * len(rows)
    if points.audio is None:
        return sounds, outlines
    read = points.audio if callable(points.audio) else points.audio.__getitem__
    # The first clip of every cluster, then the second of every cluster, and so on: no corner stays silent.
    order = np.random.default_rng(0).permutation(len(rows))
    turn = np.zeros(len(rows), int)
    seen: Counter[int] = Counter()
    for i in order.tolist():
        turn[i] = seen[int(clusters[i])]
        seen[int(clusters[i])] += 1
    bytes_left = SOUND_BYTES
    for i in order[np.argsort(turn[order], kind="stable")][:SOUNDS].tolist():
        waveform = read(rows[i])
        if waveform is None or not len(waveform):
            continue
        short, rate = excerpt(waveform, points.sample_rate)
        uri = data_uri(mp3(short, rate))
        bytes_left -= len(uri)
        if bytes_left < 0:
            break
        sounds[i], outlines[i] = uri, outline(short)
    return sounds, outlines


def _map_section(data: Mapping[str, Any], left_out: int) -> str:
    n, heard = len(data["id"]), sum(sound is not None for sound in data["audio"])
    note = f"Each point is one of {n:,} clips; neighbours sound alike to the model. "
    if heard:
        note += "Click a point to hear it"
        note += " (the loudest 3 seconds, levelled)."
        if heard < n:
            note += f" {heard:,} have their sound on this page; the small pale ones do not."
    if left_out:
        note += f" {left_out:,} more clips are not drawn."
    by = "".join(f"<option>colour by {html.escape(mode['name'])}</option>" for mode in data["modes"])
    choice = f'<select id="mode" aria-label="Colour by">{by}</select>' if len(data["modes"]) > 1 else ""
    heads = "".join(f'<th scope="col">{html.escape(mode["name"])}</th>' for mode in data["modes"])
    return string.Template((_ASSETS / "map.html").read_text(encoding="utf-8")).substitute(
        note=html.escape(note), choice=choice, heads=heads, n=f"{n:,}"
    )


def _number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(float(value)):
        return float(value)
    return None


def _curves(metrics: Sequence[Row]) -> dict[str, Any] | None:
    """The two plots as the page's script reads them, or None where nothing was measured."""
    if not metrics:
        return None
    # A run that was cut off and went on may tell an epoch twice: the later telling holds.
    told = {(float(i + 1) if (e := _number(row.get("epoch"))) is None else e): row for i, row in enumerate(metrics)}
    epochs = sorted(told)
    metrics = [told[epoch] for epoch in epochs]
    keys = list(dict.fromkeys(key for row in metrics for key in row))

    def chart(title: str, names: Mapping[str, str]) -> dict[str, Any]:
        found = [key for key in keys if any(key == name or key.startswith(f"{name}_") for name in names)]
        series: list[dict[str, Any]] = []
        for key in found:
            values = [_number(row.get(key)) for row in metrics]
            if any(value is not None for value in values):
                words = names.get(key, key.replace("_", " "))
                series.append({"name": words, "values": values, "colour": len(series), "dash": ""})
        return {"title": title, "series": series}

    charts = [
        chart("Loss", {"loss": "training", "validation_loss": "held-out clips"}),
        chart(
            "Agreement with the teacher, held-out clips",
            {"validation_cosine": "cosine", "validation_overlap": "share of neighbours in common"},
        ),
    ]
    charts = [plot for plot in charts if plot["series"]]
    return {"epochs": epochs, "charts": charts} if charts else None


def _curves_section(curves: Mapping[str, Any]) -> str:
    figures = []
    for plot in curves["charts"]:
        keys = "".join(
            f'<span><i style="color:var(--c{s["colour"]})"></i>{html.escape(s["name"])} <b></b></span>'
            for s in plot["series"]
        )
        told = []
        for s in plot["series"]:
            known = [value for value in s["values"] if value is not None]
            told.append(f"{s['name']} goes from {known[0]:.4g} to {known[-1]:.4g}")
        label = html.escape(f"{plot['title']} over {len(curves['epochs'])} epochs: {'; '.join(told)}.", quote=True)
        figures.append(
            f'<figure><figcaption><h3>{html.escape(plot["title"])}</h3><div class="keys">{keys}</div></figcaption>'
            f'<div class="chart"><svg role="img" aria-label="{label}"></svg>'
            '<div class="tip" hidden></div></div></figure>'
        )
    return (
        '<section aria-labelledby="curves"><h2 id="curves">Training</h2>'
        f'<div class="charts">{"".join(figures)}</div></section>'
    )


def _flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            pairs += _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            pairs.append((name, ", ".join(map(str, value)) or "–"))
        else:
            pairs.append((name, "–" if value is None else str(value)))
    return pairs


def _pairs(title: str, settings: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in _flat(settings)
    )
    return f"<div><h3>{title}</h3><table><tbody>{rows}</tbody></table></div>" if rows else ""


def _epochs_table(metrics: Sequence[Row]) -> str:
    if not metrics:
        return ""
    keys = list(dict.fromkeys(key for row in metrics for key in row))
    heads = "".join(f'<th scope="col">{html.escape(key.replace("_", " "))}</th>' for key in keys)
    body = ""
    for row in metrics:
        cells = []
        for key in keys:
            value = _number(row.get(key))
            text = f"{value:.5g}" if value is not None else "–" if row.get(key) is None else str(row[key])
            cells.append(f"<td>{html.escape(text)}</td>")
        body += f"<tr>{''.join(cells)}</tr>"
    return (
        "<details><summary>Every epoch in numbers</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Every epoch in numbers">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _details_section(metrics: Sequence[Row], recipe: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    pairs = _pairs("Recipe", recipe) + _pairs("Versions", versions)
    if not pairs and not metrics:
        return ""
    return (
        '<details class="card"><summary>How this was made</summary>'
        f'<div class="pairs">{pairs}</div>{_epochs_table(metrics)}</details>'
    )

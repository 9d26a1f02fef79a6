"""What a score allows one to say, a message each."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from sondino.metrics.collapse import NORM_OUTLIER_RATIO
from sondino.text import percent

FEW = 50
"""Held-out clips under which the scores of two models of this kind are rarely far enough apart."""
MOST_PAIRS = 5
"""Pairs of models that cannot be distinguished and are named."""
LEAST_DEVIATION = 0.1
"""Share of the deviation of unrelated targets under which the targets of pretraining have collapsed."""
LEAST_CLASSES = 2.0
"""Perplexity of the mean class distribution under which one class takes all."""


def of_count(held_out: int, what: str = "held-out clips") -> str | None:
    """A message where the scores are of few clips, or of none that was held out; else None."""
    if held_out == 0:
        return "no clip was held out: the scores are of clips that were trained on"
    if held_out < FEW:
        return f"{held_out} {what} are few: differences of several points may be chance"
    return None


def of_score(score: Mapping[str, Any]) -> list[str]:
    """What a head's score allows one to say, where that is little: its clips, interval95 and chance; {}: no score."""
    if not score:
        return []
    found = [of_count(int(score["clips"]), "scored clips")]
    if score["interval95"][0] <= score["chance"]:
        found.append("it cannot be distinguished from chance")
    return [verdict for verdict in found if verdict]


def of_int8(probe: Mapping[str, Any]) -> list[str]:
    """What the probes of a model in float and in int8 allow one to say: f32, int8, their intervals, and clips."""
    found = [of_count(int(probe["clips"]), "clips")]
    one, other = probe.get("f32_interval95"), probe.get("int8_interval95")
    if probe["f32"] != probe["int8"] and one and other and one[0] <= other[1] and other[0] <= one[1]:
        found.append("the difference is within noise: the 95 % intervals of f32 and int8 overlap")
    return [verdict for verdict in found if verdict]


def overlap_by_chance(clips: int, neighbours: int = 10) -> float:
    """The neighbour overlap of unrelated embeddings of so many clips; 1 where all others are neighbours."""
    return min(neighbours, clips - 1) / (clips - 1) if clips > 1 else 1.0


def agreement_by_chance(clips: int, searched: int) -> dict[str, float | None]:
    """The chance levels of the measures of agreement that have one, of so many clips compared and searched."""
    return {
        "overlap_by_chance": overlap_by_chance(clips) if clips > 1 else None,
        "retrieval_by_chance": 1 / searched if searched else None,
    }


def of_overlap(overlap: float, clips: int) -> str | None:
    """A message where a neighbour overlap among so many clips is not far above chance; else None."""
    chance = overlap_by_chance(clips)
    if overlap > 2 * chance:
        return None
    shares = percent(overlap, 0), percent(chance, 0)
    return f"a neighbour overlap of {shares[0]} among {clips} clips says little: by chance it is {shares[1]}"


def of_best(values: Sequence[tuple[str, float, Sequence[float] | None]], clips: int) -> str | None:
    """A message where the best of several values cannot be distinguished from others by so many clips; else None.

    Args:
        values: the name, the value and the 95 % interval of each; None: it has none.
        clips: that were scored, or held out.
    """
    if len(values) < 2:
        return None
    best = max(values, key=lambda each: each[1])
    others = [each for each in values if each is not best]
    if best[2] is None or any(each[2] is None for each in others):
        return f"whether {best[0]} is the best is not known: there is no interval, and {clips} clips are held out"
    low = best[2][0]
    close = [name for name, _, interval in others if interval is not None and interval[1] >= low]
    if not close:
        return None
    equal = [name for name, value, _ in others if value == best[1]]
    close = [name for name in close if name not in equal]
    start = f"{_some([best[0], *equal])} score the same, the highest" if equal else f"{best[0]} is the best"
    if not close:
        return f"{start}, on {clips} clips"
    return f"{start}, and cannot be distinguished from {_some(close)} by {clips} clips: their 95 % intervals overlap"


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many there are more."""
    more = f" and {len(names) - MOST_PAIRS} more" if len(names) > MOST_PAIRS else ""
    return f"{', '.join(names[:MOST_PAIRS])}{more}"


def of_run(summary: Mapping[str, Any]) -> list[str]:
    """What the scores of a distillation allow one to say, of its summary: table, held_out, and compared clips."""
    rows = {row.get("role"): row for row in summary.get("table") or []}
    ours, random = (rows.get(role, {}).get("neighbour_overlap") for role in ("student", "untrained"))
    found = [of_count(int(summary.get("held_out") or 0))]
    if ours is not None and summary.get("compared"):
        found.append(of_overlap(ours, int(summary["compared"])))
    if ours is not None and random is not None and ours <= random:
        found.append(
            f"the student is no better than random weights: it has {percent(ours, 0)} of the teacher's neighbours, and "
            f"its network before training {percent(random, 0)}"
        )
    return [verdict for verdict in found if verdict]


def of_norms(summary: Mapping[str, Any]) -> list[str]:
    """A message where embeddings have outlier norms: of a run's own clips, and of other sound.

    Args:
        summary: of a distillation: norm_outliers of `compared` clips, and other_sound with its own two counts.
    """
    other = summary.get("other_sound") or {}
    counts = (
        (summary.get("norm_outliers"), summary.get("compared"), "clips"),
        (other.get("norm_outliers"), other.get("clips"), "other clips, samples that come with sondino,"),
    )
    return [
        f"{outliers} of {clips} {what} have embeddings with over {NORM_OUTLIER_RATIO:g} times the usual norm: "
        "distances to them mean nothing; train longer, or with a lower --lr"
        for outliers, clips, what in counts
        if outliers
    ]


def of_pretraining(row: Mapping[str, Any]) -> str:
    """What has collapsed in pretraining, and what to change, by a line of its metrics; "" where nothing has."""
    deviation, perplexity = row.get("deviation"), row.get("perplexity")
    if deviation is not None and deviation < LEAST_DEVIATION:
        return (
            f"the teacher gives all patches nearly the same output (deviation {deviation:.3f} of that of unrelated "
            "ones): lower --lr, or give a larger --batch-size"
        )
    if perplexity is not None and perplexity < LEAST_CLASSES:
        return (
            f"one class takes nearly all patches (perplexity {perplexity:.2f}): lower --lr, give a larger "
            "--batch-size, or --class-weight 0"
        )
    return ""


def of_models(models: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which models are no better than random weights, which cannot be distinguished, and where the clips are few.

    Args:
        models: with name and role ("untrained": the same network, randomly initialised).
        scores: with model, task, value, interval95 and clips.
    """
    of: dict[str, dict[str, Mapping[str, Any]]] = {}
    for score in scores:
        of.setdefault(str(score["model"]), {})[str(score["task"])] = score
    untrained = [str(m["name"]) for m in models if m["role"] == "untrained" and m["name"] in of]
    trained = [str(m["name"]) for m in models if m["role"] != "untrained" and m["name"] in of]
    found = []
    for name in trained:
        for random in untrained:
            tasks = sorted(of[name].keys() & of[random].keys())
            if not tasks:
                continue
            ours, theirs = (sum(of[model][task]["value"] for task in tasks) / len(tasks) for model in (name, random))
            if _overlap(of[name], of[random]):
                found.append(f"{name} cannot be distinguished from random weights ({random}): their intervals overlap")
            elif ours < theirs:
                found.append(
                    f"{name} is worse than random weights: {percent(ours)} where {random} has {percent(theirs)}"
                )
    close = [f"{one} and {other}" for one, other in combinations(trained, 2) if _overlap(of[one], of[other])]
    if close:
        more = f", and {len(close) - MOST_PAIRS} more" if len(close) > MOST_PAIRS else ""
        found.append(
            f"within noise, since their 95 % intervals overlap on every task: {'; '.join(close[:MOST_PAIRS])}{more}"
        )
    for task, clips in {str(score["task"]): int(score["clips"]) for score in scores}.items():
        if (few := of_count(clips, "clips")) is not None:
            found.append(f"{task}: {few}")
    return found


def _overlap(one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the intervals of two models overlap on every task that both have."""
    tasks = one.keys() & other.keys()
    pairs = [(one[task]["interval95"], other[task]["interval95"]) for task in tasks]
    return bool(pairs) and all(a[0] <= b[1] and b[0] <= a[1] for a, b in pairs)

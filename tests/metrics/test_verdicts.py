"""Sentences on what scores allow one to say."""

import numpy as np

from sondino.metrics.agreement import neighbour_overlap
from sondino.metrics.verdicts import (
    agreement_by_chance,
    of_best,
    of_count,
    of_int8,
    of_models,
    of_norms,
    of_overlap,
    of_run,
    of_score,
    overlap_by_chance,
)


def test_few_clips_are_named() -> None:
    assert of_count(50) is None and of_count(1000) is None
    assert of_count(49) == "49 held-out clips are few: differences of several points may be chance"
    assert of_count(0) == "no clip was held out: the scores are of clips that were trained on"


def test_a_heads_score_is_judged_by_its_clips_and_chance() -> None:
    score = {"clips": 100, "interval95": [0.6, 0.8], "chance": 0.5}
    assert of_score(score) == of_score({}) == []
    assert of_score({**score, "clips": 12, "interval95": [0.5, 0.8]}) == [
        "12 scored clips are few: differences of several points may be chance",
        "it cannot be distinguished from chance",
    ]


def test_int8_is_judged_beside_float() -> None:
    probe = {"f32": 0.8, "int8": 0.79, "clips": 400, "f32_interval95": [0.76, 0.84], "int8_interval95": [0.75, 0.83]}
    assert of_int8(probe) == ["the difference is within noise: the 95 % intervals of f32 and int8 overlap"]
    assert of_int8({**probe, "int8": 0.6, "int8_interval95": [0.55, 0.65]}) == of_int8({**probe, "int8": 0.8}) == []
    assert of_int8({"f32": 0.8, "int8": 0.7, "clips": 24}) == [  # of a bundle made before intervals were kept
        "24 clips are few: differences of several points may be chance"
    ]


def test_the_overlap_by_chance_is_that_of_unrelated_embeddings() -> None:
    rng = np.random.default_rng(0)
    for clips in (17, 40):
        drawn = [neighbour_overlap(rng.normal(size=(clips, 8)), rng.normal(size=(clips, 8))) for _ in range(40)]
        assert abs(np.mean(drawn) - overlap_by_chance(clips)) < 0.03
    assert overlap_by_chance(17) == 10 / 16 and overlap_by_chance(5) == overlap_by_chance(1) == 1
    assert of_overlap(0.625, 17) == "a neighbour overlap of 62 % among 17 clips says little: by chance it is 62 %"
    assert of_overlap(0.3, 1000) is None


def score(model: str, value: float, half: float = 0.05, task: str = "t", clips: int = 100) -> dict:
    return {"model": model, "task": task, "value": value, "interval95": (value - half, value + half), "clips": clips}


def test_models_are_compared_with_random_weights_and_each_other() -> None:
    models = [{"name": name, "role": role} for name, role in (("T", "teacher"), ("S", "student"), ("U", "untrained"))]
    assert of_models(models, [score("T", 0.9), score("S", 0.7), score("U", 0.5)]) == []
    found = of_models(models, [score("T", 0.9), score("S", 0.3), score("U", 0.5)])
    assert found == ["S is worse than random weights: 30.0 % where U has 50.0 %"]
    found = of_models(models, [score("T", 0.9), score("S", 0.55), score("U", 0.5)])
    assert found == ["S cannot be distinguished from random weights (U): their intervals overlap"]
    found = of_models(models, [score("T", 0.9), score("S", 0.45), score("U", 0.5)])  # nor the other way round
    assert found == ["S cannot be distinguished from random weights (U): their intervals overlap"]
    found = of_models(models, [score("T", 0.9), score("S", 0.85), score("U", 0.5, clips=100)])
    assert found == ["within noise, since their 95 % intervals overlap on every task: T and S"]
    # Apart on one task is apart.
    two = [score("T", 0.9), score("S", 0.85), score("T", 0.9, task="u"), score("S", 0.5, task="u", clips=20)]
    assert of_models(models, two) == ["u: 20 clips are few: differences of several points may be chance"]


def test_a_run_is_judged_by_its_summary() -> None:
    table = [{"role": "student", "neighbour_overlap": 0.2}, {"role": "untrained", "neighbour_overlap": 0.25}]
    summary = {"table": table, "held_out": 100, "compared": 1000}
    assert of_run(summary) == [
        "the student is no better than random weights: it has 20 % of the teacher's neighbours, and its network before "
        "training 25 %"
    ]
    table[1]["neighbour_overlap"] = 0.1
    assert of_run(summary) == []
    assert len(of_run(summary | {"held_out": 3, "compared": 20})) == 2 and of_run({})[0].startswith(
        "no clip was held out"
    )


def test_outlier_norms_are_counted_among_a_runs_clips_and_among_other_sound() -> None:
    summary = {"compared": 500, "norm_outliers": 0, "other_sound": {"clips": 64, "norm_outliers": 0}}
    assert of_norms({}) == of_norms(summary) == []
    advice = (
        "have embeddings with over 30 times the usual norm: distances to them mean nothing; train longer, or with a "
        "lower --lr"
    )
    summary["other_sound"] = {"clips": 64, "norm_outliers": 3}
    assert of_norms(summary) == [f"3 of 64 other clips, samples that come with sondino, {advice}"]
    assert of_norms(summary | {"norm_outliers": 2})[0] == f"2 of 500 clips {advice}"


def test_the_best_is_named_where_it_cannot_be_distinguished() -> None:
    apart = [("a", 0.5, (0.4, 0.6)), ("b", 0.9, (0.8, 1.0))]
    assert of_best(apart, 32) is None and of_best(apart[:1], 32) is None
    close = [*apart, ("c", 0.85, (0.7, 0.95))]
    assert of_best(close, 32) == (
        "b is the best, and cannot be distinguished from c by 32 clips: their 95 % intervals overlap"
    )
    assert of_best([*apart, ("c", 0.85, None)], 32) == (
        "whether b is the best is not known: there is no interval, and 32 clips are held out"
    )
    same = [("a", 0.9, (0.8, 1.0)), ("b", 0.9, (0.8, 1.0))]
    assert of_best(same, 32) == "a, b score the same, the highest, on 32 clips"
    assert of_best([*same, ("c", 0.85, (0.7, 0.95))], 32) == (
        "a, b score the same, the highest, and cannot be distinguished from c by 32 clips: their 95 % intervals overlap"
    )
    many = [("b", 0.9, (0.0, 1.0)), *((str(n), 0.5, (0.4, 0.6)) for n in range(7))]
    assert "distinguished from 0, 1, 2, 3, 4 and 2 more by" in (of_best(many, 9) or "")


def test_agreement_has_chance_levels() -> None:
    assert agreement_by_chance(41, 20) == {"overlap_by_chance": 0.25, "retrieval_by_chance": 0.05}
    assert agreement_by_chance(1, 0) == {"overlap_by_chance": None, "retrieval_by_chance": None}

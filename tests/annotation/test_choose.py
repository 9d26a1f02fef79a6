"""Which windows come next, and what is said of the classifier: answers that can be computed by hand."""

from typing import Literal

import numpy as np
import pytest

from sondino.annotation.answers import Answer
from sondino.annotation.choose import MIXED, Answered, Space, ranked, similarity, spread, way_of
from sondino.annotation.classifier import ENOUGH_NO, WEAK, fit, held_out, logits, weak
from sondino.annotation.estimate import advice_of, precision_of
from sondino.annotation.results import choose_threshold
from sondino.annotation.starts import Given, disagreement

NONE = np.zeros(0, np.int64)
PLAIN = Space(np.zeros(2, np.float32), np.ones(2, np.float32))
ROUND = np.array([[np.cos(a), np.sin(a)] for a in np.radians([0, 10, 90, 100, 180])], np.float32)


def known(yes: list[int], no: list[int]) -> Answered:
    rows = {"yes": np.array(yes, np.int64), "no": np.array(no, np.int64)}
    return Answered(rows["yes"], rows["no"], NONE, np.setdiff1d(np.arange(5), [*yes, *no]))


def first(how: str, of: Answered, scores: list[float] | None = None, start: list[float] | None = None) -> int:
    given = None if scores is None else np.array(scores, np.float32)
    rows, _ = ranked(how, ROUND, PLAIN, of, given, None if start is None else np.array(start, np.float32), 0)
    return int(rows[0])


def test_each_way_takes_its_own_window_and_none_that_has_an_answer() -> None:
    some, scores = known([0], [3]), [5.0, 2.0, -0.5, -3.0, -4.0]
    assert first("similar", some, scores) == 1
    assert first("different", some, scores) == 4
    assert first("uncertain", some, scores) == 2
    assert first("top", some, scores) == 1
    assert first("random", some, scores) == 1  # the only one that the classifier calls yes
    for how in ("similar", "different", "uncertain", "top", "random"):
        rows, way = ranked(how, ROUND, PLAIN, some, np.array(scores, np.float32), None, 1)
        assert way == how and not {0, 3} & set(rows.tolist())


def test_before_a_classifier_the_start_decides_or_chance() -> None:
    assert first("uncertain", known([], [0]), None, [9, 1, 3, 2, 0]) == 2
    rows, way = ranked("top", ROUND, PLAIN, known([], []), None, None, 0)
    assert way == "random" and sorted(rows.tolist()) == [0, 1, 2, 3, 4]


def test_similarity_is_the_cosine_in_the_archives_space() -> None:
    found = similarity(ROUND, PLAIN, ROUND[[0]])
    assert found == pytest.approx([1, np.cos(np.radians(10)), 0, np.cos(np.radians(100)), -1], abs=1e-6)
    # A constant dimension counts for nothing.
    flat = Space(np.zeros(2, np.float32), np.array([1, np.inf], np.float32))
    assert similarity(ROUND, flat, ROUND[[0]])[1] == pytest.approx(1)


def test_candidates_are_of_different_recordings_where_that_suffices() -> None:
    rows, owners = np.array([4, 5, 9, 6, 1]), np.array([1, 1, 2, 1, 0])
    assert spread(rows, owners, 3).tolist() == [4, 9, 1]
    assert spread(rows, owners, 4).tolist() == [4, 9, 1, 5]
    assert spread(rows, owners, 9).tolist() == [4, 9, 1, 5, 6]


def test_mixed_takes_the_ways_in_turn_and_measures_every_fifth_time() -> None:
    assert [way_of("mixed", n) for n in range(5)] == list(MIXED)
    assert MIXED.count("random") == 1 and way_of("top", 3) == "top"


def test_the_classifier_tells_two_groups_apart_and_needs_a_yes() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 32)).astype(np.float16)
    vectors[:50, :4] += 6
    yes, no = np.arange(10), np.arange(50, 50 + ENOUGH_NO)
    free = np.setdiff1d(np.arange(200), [*yes, *no])
    linear = fit(vectors, yes, no, free)
    assert linear is not None
    scores = logits(vectors, linear)
    assert (scores[:50] > 0).all() and (scores[50:] < 0).mean() > 0.95
    assert np.array_equal(logits(vectors, fit(vectors, yes, no, free)), scores)  # type: ignore[arg-type]
    assert fit(vectors, NONE, no, free) is None
    assert fit(vectors, yes, NONE, NONE) is None


def test_one_yes_alone_stands_against_windows_of_the_archive() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    free = np.arange(1, 500)
    against = weak(free)
    assert len(against) == WEAK and 0 not in against
    # An answer to one of them exchanges that one alone.
    assert len(set(weak(np.setdiff1d(free, against[:1]))) - set(against)) == 1
    linear = fit(vectors, np.array([0]), NONE, free)
    assert linear is not None and logits(vectors, linear).argmax() == 0


def test_held_out_scores_are_of_classifiers_that_did_not_see_the_recording() -> None:
    # Two windows a recording, alike, but with opposite answers: who has seen the one would be wrong on the other.
    rng = np.random.default_rng(1)
    pairs = rng.standard_normal((42, 64)).astype(np.float32)
    vectors = np.repeat(pairs, 2, axis=0)
    yes, no = np.arange(0, 84, 2), np.arange(1, 84, 2)
    found = held_out(vectors, yes, no, NONE, np.concatenate([yes, no]) // 2)
    assert found is not None and np.allclose(found[:42], found[42:], atol=1e-6)


def answered(verdicts: str, how: str = "random", score: float | None = 0.9) -> list[Answer]:
    words: dict[str, Literal["yes", "no", "unsure"]] = {"y": "yes", "n": "no", "u": "unsure"}
    return [Answer("a", n, n + 1, "dog", words[v], how, score, "", "") for n, v in enumerate(verdicts)]


def test_precision_counts_random_windows_that_were_called_yes_and_has_a_width() -> None:
    share, low, high, count = precision_of(answered("yyyy")) or (0, 0, 0, 0)
    assert (
        (share, count) == (1.0, 4) and high == pytest.approx(1) and low == pytest.approx(0.5101, abs=1e-4)
    )  # Wilson, 4 of 4
    mixed = answered("yn") + answered("n", "top") + answered("n", score=0.2) + answered("nnn", score=None)
    assert (precision_of(mixed + answered("u")) or ())[0::3] == (0.5, 2)
    assert precision_of(answered("yy", "uncertain")) is None
    low_none, high_none = (precision_of(answered("nnn")) or (0, 0, 0, 0))[1:3]
    assert low_none == 0 and high_none > 0.5


@pytest.mark.parametrize(
    ("yes", "no", "judged", "left", "begins"),
    [
        (0, 3, "", 9, "Find a first yes"),
        (3, 1, "", 9, "Answer some more"),
        (9, 9, "yyyyy", 9, "Answer 15 more at random"),
        (9, 9, "y" * 30, 9, "You may stop"),
        (9, 9, "y" * 15 + "n" * 15, 9, "Go on"),
        (9, 9, "", 0, "Every window"),
    ],
)
def test_advice_is_one_line(yes: int, no: int, judged: str, left: int, begins: str) -> None:
    advice = advice_of({"yes": yes, "no": no, "unsure": 0}, precision_of(answered(judged)), left)
    assert advice.startswith(begins) and "\n" not in advice


def test_the_threshold_is_the_lowest_whose_precision_holds() -> None:
    # 20 yes, 1 no, 10 yes, then no: Wilson's lower end is 0.84 of 20/20, 0.77 of 20/21 and 0.84 of 30/31.
    is_yes = np.array([1] * 20 + [0] + [1] * 10 + [0] * 20, bool)
    found = choose_threshold(np.arange(51, 0, -1).astype(float), is_yes)
    assert found.held and found.low >= 0.8 and found.recall == 1
    assert found.logit == 20.5  # below the 30th yes, which is the 31st answer; the lower end of 30/32 is 0.799
    few = choose_threshold(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))
    assert not few.held


def test_planted_label_errors_come_first() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((100, 6)).astype(np.float32)
    vectors[:50, 0] += 8
    given = Given({n: (("dog",) if (n < 50) != (n in (7, 70)) else ("cat",)) for n in range(100)}, ("cat", "dog"))
    rows, values = disagreement(vectors, given, "dog", {}, np.arange(100))
    assert set(rows[np.argsort(-values)][:2].tolist()) == {7, 70}
    rows, values = disagreement(vectors, given, "dog", {7: True, 70: False}, np.arange(100))  # answered: no error left
    assert values.max() < 0.5


def test_advice_where_nothing_else_is_called_yes() -> None:
    """Windows at random would measure nothing then."""
    counts = {"yes": 9, "no": 11, "unsure": 0}
    assert advice_of(counts, None, 100, 0).startswith("The classifier calls no other window yes")
    assert advice_of(counts, None, 100, 3).startswith("Answer 20 more at random")
    assert advice_of(counts, None, 100).startswith("Answer 20 more at random")

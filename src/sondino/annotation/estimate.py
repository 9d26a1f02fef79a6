"""How right the classifier is where it says yes, from windows drawn at random, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sondino.annotation.answers import Answer
from sondino.metrics.intervals import wilson
from sondino.text import percent

MOST = 100
"""The latest answers that are counted: the classifier becomes better with time."""
FEWEST = 20
"""Answers at random, under which the advice is never to stop."""
GOOD, FAIR = 0.9, 0.8
"""Precision, and the lower end of its interval, at which one may stop."""

Estimate = tuple[float, float, float, int]
"""Precision, the low and the high end of its 95 % interval, and how many windows were drawn at random."""


def precision_of(answers: Sequence[Answer]) -> Estimate | None:
    """The precision of what the classifier calls yes.

    Counted are windows that were drawn at random among those that the classifier called yes, before it learnt the
    answer. "Unsure" is not counted.

    Args:
        answers: of one label, in the order in which they were given.

    Returns:
        None where no window was drawn so.
    """
    verdicts = [
        answer.verdict == "yes"
        for answer in answers
        if answer.how == "random" and answer.score is not None and answer.score >= 0.5 and answer.verdict != "unsure"
    ][-MOST:]
    if not verdicts:
        return None
    share = sum(verdicts) / len(verdicts)
    low, high = wilson(share, len(verdicts))
    return share, low, high, len(verdicts)


def advice_of(counts: Mapping[str, int], estimate: Estimate | None, left: int, called: int | None = None) -> str:
    """What to do next for a label, in one line.

    Args:
        counts: of its "yes", "no" and "unsure".
        estimate: of `precision_of`.
        left: windows without an answer.
        called: of these, those that the classifier calls yes; None: there is no classifier.
    """
    if left == 0:
        return "Every window has an answer: stop."
    if not counts["yes"]:
        return "Find a first yes: start with an example, or look through candidates that are different."
    if counts["no"] < 5:
        return "Answer some more, the most uncertain first: the classifier needs no as well as yes."
    if called == 0:
        return (
            "The classifier calls no other window yes: look through candidates that are different for what it misses, "
            "or stop."
        )
    if estimate is None or estimate[3] < FEWEST:
        more = FEWEST - (estimate[3] if estimate else 0)
        return f"Answer {more} more at random to know how often the classifier is right."
    share, low, _, count = estimate
    right = (
        f"{percent(share, 0)} of {count} drawn at random were right, at least {percent(low, 0)} with 95 % confidence"
    )
    if share >= GOOD and low >= FAIR:
        return f"You may stop: {right}."
    return f"Go on with the most uncertain ones: {right}."

"""Agreement of a student's embeddings with its teacher's, without labels. NumPy only: training validates with it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError

_Float = TypeVar("_Float", bound=np.floating)

MOST_CLIPS = 10_000  # that `agreement` compares
MOST_QUERIES = 2_000  # clips whose neighbours it compares
FEWEST_CLIPS = 20  # that a linear map is fitted and scored on
MOST_CHOOSING = 1_000  # clips that its penalty is chosen on
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the ridge regression on standardised student embeddings: added to the diagonal of their covariance."""

_BLOCK_VALUES = 4_000_000  # float32 values of one block, of embeddings or of similarities: 16 MB


@dataclass(frozen=True)
class Agreement:
    """Agreement of two embedding spaces on the same clips; None where there are too few clips.

    Attributes:
        cosine: mean cosine between the teacher's embeddings and the student's, mapped by a ridge regression that was
            fitted on other clips.
        cosine_of_mean: the same for the teacher's mean embedding in place of the student's: the baseline.
        neighbour_overlap: 10-NN overlap (see `neighbour_overlap`).
        cka: linear CKA. With fewer clips than dimensions unrelated spaces reach well over 0 too.
        cka_unbiased: the same from the unbiased estimate of HSIC: about 0 for unrelated spaces, however few clips.
        retrieval_at_1: share of the searches with a mapped student embedding, among the teacher's embeddings of all
            clips that the map was not fitted on, that rank the clip itself first. Chance is 1 / searched.
        retrieval_at_10: the same for the first 10. Chance is 10 / searched.
        clips: compared.
        searched: clips that the map was not fitted on, which were searched.
    """

    cosine: float | None
    cosine_of_mean: float | None
    neighbour_overlap: float | None
    cka: float | None
    cka_unbiased: float | None
    retrieval_at_1: float | None
    retrieval_at_10: float | None
    clips: int
    searched: int


def agreement(student: NDArray[np.floating], teacher: NDArray[np.floating], seed: int = 0) -> Agreement:
    """Agreement of a student's embeddings with its teacher's, without labels.

    Of more than 10,000 clips so many are drawn and compared; of more than 2,000 the neighbours of so many, among all
    that are compared. A linear map is fitted on a random half of the clips, its penalty chosen inside that half, and
    scored on the other half.

    Args:
        student: (n, d) embeddings of the student, finite.
        teacher: (n, D) embeddings of the same clips in the same order; may be memory-mapped.
        seed: of all random choices.

    Raises:
        OptionError: the arrays have different numbers of rows.
    """
    _check_rows("agreement", student, teacher)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(student))[:MOST_CLIPS]  # in random order: the first half is a random half
    student, teacher = (np.asarray(space[rows], np.float32) for space in (student, teacher))
    clips, half = len(rows), -(-len(rows) // 2)
    cka, unbiased = _ckas(student, teacher)
    overlap = neighbour_overlap(student, teacher, 10, np.arange(min(clips, MOST_QUERIES)))
    found = Agreement(None, None, _finite(overlap), _finite(cka), _finite(unbiased), None, None, clips, 0)
    if clips < FEWEST_CLIPS:
        return found
    ridge = _Ridge(student[:half], teacher[:half])
    theirs = teacher[half:]
    mapped = ridge.predict(student[half:], _best_penalty(student[:half], teacher[:half]))
    at_1, at_10 = _retrieval(mapped, theirs)
    return replace(
        found,
        cosine=cosine(mapped, theirs),
        cosine_of_mean=cosine(np.broadcast_to(ridge.teacher_mean, theirs.shape), theirs),
        retrieval_at_1=at_1,
        retrieval_at_10=at_10,
        searched=len(theirs),
    )


def linear_cka(student: NDArray[np.floating], teacher: NDArray[np.floating], unbiased: bool = False) -> float:
    """Linear centred kernel alignment of two spaces (Kornblith and others 2019, arXiv 1905.00414).

    From (d, D) products of blocks in float32, summed in float64: memory does not grow with n.

    Args:
        student: (n, d) embeddings.
        teacher: (n, D) embeddings of the same clips in the same order.
        unbiased: from the unbiased estimate of HSIC (Song and others 2012), which is about 0 for unrelated spaces
            and may be below; the plain one grows towards 1 as n falls under the dimensions.

    Returns:
        1 where the spaces differ by rotation and scale alone. NaN for a space that does not vary, or for under 2 clips
        (unbiased: 4).

    Raises:
        OptionError: the arrays have different numbers of rows.
    """
    _check_rows("linear_cka", student, teacher)
    return _ckas(student, teacher)[unbiased]


def cosines(ours: NDArray[_Float], theirs: NDArray[_Float]) -> NDArray[_Float]:
    """The cosine (n,) of each row of one array (n, dim) to the same row of another, computed in their precision.

    0 where a row is zero; NaN where a value is not finite.
    """
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.einsum("nd,nd->n", ours, theirs) / np.maximum(lengths, 1e-30)


def cosine(projected: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean cosine between each projected student embedding and its teacher's embedding.

    Args:
        projected: (n, dim) student embeddings after the mapping head.
        targets: (n, dim) teacher embeddings, row for row; a float16 memmap is read in blocks.

    Returns:
        The mean over rows, -1 to 1; a row of zeros counts as 0, and no rows at all give NaN.

    Raises:
        OptionError: the two shapes differ.
    """
    if projected.ndim != 2 or projected.shape != targets.shape:
        raise OptionError(
            f"cosine compares two (n, dim) arrays of one shape, not {projected.shape} and {targets.shape}"
        )
    total = 0.0
    for rows in _row_blocks(*targets.shape):
        total += float(np.einsum("nd,nd->n", _unit(projected[rows]), _unit(targets[rows])).sum(dtype=np.float64))
    return total / len(targets) if len(targets) else float("nan")


def neighbour_overlap(
    student: NDArray[np.floating],
    teacher: NDArray[np.floating],
    k: int = 10,
    queries: NDArray[np.integer] | None = None,
) -> float:
    """Mean share of a clip's k nearest neighbours (by cosine) that student and teacher have in common.

    The two spaces may differ in dimension, so this needs no mapping head: it measures whether a search among the
    student's own embeddings returns the same clips as among the teacher's. The work grows with n squared; memory does
    not.

    Args:
        student: (n, d) embeddings.
        teacher: (n, D) embeddings of the same clips in the same order.
        k: neighbours compared, without the clip itself; at most n - 1, where the result is always 1.
        queries: rows whose neighbours, among all rows, are compared; None: every row.

    Returns:
        0 to 1; about k / (n - 1) at chance level. NaN under two clips.

    Raises:
        OptionError: the arrays have different numbers of rows, or k is under 1.
    """
    _check_rows("neighbour_overlap", student, teacher)
    if k < 1:
        raise OptionError(f"neighbour_overlap needs k = 1 neighbour or more, not {k}")
    n = len(student)
    queried = np.arange(n) if queries is None else np.asarray(queries, np.intp)
    if n < 2 or len(queried) == 0:
        return float("nan")
    k = min(k, n - 1)
    common = 0
    for ours, theirs in zip(_nearest(student, queried, k), _nearest(teacher, queried, k), strict=True):
        common += int((ours[:, :, None] == theirs[:, None, :]).sum())
    return common / (len(queried) * k)


def _nearest(embeddings: NDArray[np.floating], queried: NDArray[np.intp], k: int) -> Iterator[NDArray[np.intp]]:
    """The k nearest other rows of each query row, in blocks: (rows, k) indexes in no order.

    The rows of a block depend on the queries alone, so that two spaces have the same blocks.
    """
    n, dim = embeddings.shape
    rows_at_once = 256
    columns_at_once = max(rows_at_once, min(_BLOCK_VALUES // rows_at_once, _BLOCK_VALUES // max(1, dim)))
    for start in range(0, len(queried), rows_at_once):
        rows = queried[start : start + rows_at_once]
        query = _unit(embeddings[rows])
        best = np.empty((len(query), 0), np.float32)  # similarities of the nearest so far, and their indexes
        where = np.empty((len(query), 0), np.intp)
        for left in range(0, n, columns_at_once):
            right = min(left + columns_at_once, n)
            near = query @ _unit(embeddings[left:right]).T
            own = np.flatnonzero((rows >= left) & (rows < right))
            near[own, rows[own] - left] = -np.inf  # a clip is not its own neighbour
            best = np.concatenate([best, near], axis=1)
            where = np.concatenate([where, np.broadcast_to(np.arange(left, right), near.shape)], axis=1)
            if best.shape[1] > k:
                keep = np.argpartition(best, -k, axis=1)[:, -k:]
                best, where = np.take_along_axis(best, keep, 1), np.take_along_axis(where, keep, 1)
        yield where


def _check_rows(what: str, student: NDArray[np.floating], teacher: NDArray[np.floating]) -> None:
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise OptionError(f"{what} compares two (n, dim) arrays of the same n, not {student.shape} and {teacher.shape}")


def _ckas(student: NDArray[np.floating], teacher: NDArray[np.floating]) -> tuple[float, float]:
    """Plain and unbiased linear CKA."""
    n, d, dim = len(student), student.shape[1], teacher.shape[1]
    if n < 2:
        return math.nan, math.nan
    means = _mean(student), _mean(teacher)
    cross, own, other = np.zeros((d, dim)), np.zeros((d, d)), np.zeros((dim, dim))
    lengths = np.empty((2, n))  # squared, of each centred row
    for rows in _row_blocks(n, max(d, dim)):
        ours = (student[rows] - means[0]).astype(np.float32)
        theirs = (teacher[rows] - means[1]).astype(np.float32)
        cross += ours.T @ theirs
        own += ours.T @ ours
        other += theirs.T @ theirs
        lengths[:, rows] = [np.einsum("nd,nd->n", x, x, dtype=np.float64) for x in (ours, theirs)]
    between, within, beyond = (float(np.einsum("de,de->", product, product)) for product in (cross, own, other))
    if not (within > 0 and beyond > 0):
        return math.nan, math.nan
    plain = min(1.0, between / math.sqrt(within * beyond))
    if n < 4:
        return plain, math.nan

    def unbiased(squares: float, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        """HSIC times n (n - 3): the rows of a centred space's kernel sum to 0, which leaves these terms."""
        return float(squares - a @ b * n / (n - 2) + a.sum() * b.sum() / ((n - 1) * (n - 2)))

    squared = unbiased(within, lengths[0], lengths[0]) * unbiased(beyond, lengths[1], lengths[1])
    return plain, min(1.0, unbiased(between, *lengths) / math.sqrt(squared)) if squared > 0 else math.nan


def _mean(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    total = np.zeros(embeddings.shape[1])
    for rows in _row_blocks(*embeddings.shape):
        total += embeddings[rows].sum(axis=0, dtype=np.float64)
    return total / len(embeddings)


class _Ridge:
    """Ridge regressions with any penalty from standardised (n, d) embeddings to (n, D) embeddings."""

    def __init__(self, student: NDArray[np.float32], teacher: NDArray[np.float32]) -> None:
        self._mean = student.mean(axis=0, dtype=np.float64)
        scale = student.std(axis=0, dtype=np.float64)
        self._scale = np.where(scale > 1e-6 * scale.max(), scale, 1.0)  # a constant dimension has no information
        self.teacher_mean = teacher.mean(axis=0, dtype=np.float64).astype(np.float32)
        standard = self._standard(student)
        self._covariance = (standard.T @ standard).astype(np.float64) / len(student)
        self._cross = (standard.T @ (teacher - self.teacher_mean)).astype(np.float64) / len(student)

    def _standard(self, student: NDArray[np.float32]) -> NDArray[np.float32]:
        standard: NDArray[np.float32] = ((student - self._mean) / self._scale).astype(np.float32)
        return standard

    def predict(self, student: NDArray[np.float32], penalty: float) -> NDArray[np.float32]:
        weights = np.linalg.solve(self._covariance + penalty * np.eye(len(self._covariance)), self._cross)
        predicted: NDArray[np.float32] = self._standard(student) @ weights.astype(np.float32) + self.teacher_mean
        return predicted


def _best_penalty(student: NDArray[np.float32], teacher: NDArray[np.float32]) -> float:
    """The penalty of the highest cosine on up to a fifth of the rows, fitted on the others."""
    held = min(len(student) // 5, MOST_CHOOSING)
    ridge = _Ridge(student[held:], teacher[held:])
    reached = [cosine(ridge.predict(student[:held], penalty), teacher[:held]) for penalty in PENALTIES]
    return PENALTIES[int(np.argmax(reached))]


def _retrieval(queries: NDArray[np.float32], embeddings: NDArray[np.float32]) -> tuple[float, float]:
    """Share of the queries that retrieve their own row first, and among the first 10; ties are in any order."""
    searched, queried = _unit(embeddings), _unit(queries)
    first = ten = 0.0
    for start in range(0, len(queried), 256):
        near = queried[start : start + 256] @ searched.T
        own = near[np.arange(len(near)), np.arange(start, start + len(near))][:, None]
        above = (near > own).sum(axis=1)
        equal = (near == own).sum(axis=1)  # the row itself, and any twins of it
        first += float((np.clip(1 - above, 0, equal) / equal).sum())
        ten += float((np.clip(10 - above, 0, equal) / equal).sum())
    return first / len(queried), ten / len(queried)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row_blocks(n: int, dim: int) -> Iterator[slice]:
    size = max(1, _BLOCK_VALUES // max(1, dim))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows at length 1 in float32 (a copy; float16 squares overflow); zero rows stay zero."""
    x = np.asarray(embeddings, np.float32)
    # Scaled by the largest value first: a row of large float32 values would overflow when squared.
    x = x / np.maximum(np.abs(x).max(axis=1, keepdims=True, initial=0.0), np.float32(1e-30))
    return x / np.maximum(np.sqrt(np.einsum("nd,nd->n", x, x))[:, None], np.float32(1e-30))

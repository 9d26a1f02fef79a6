"""How near a student's space is to its teacher's, without labels. NumPy only: training validates with it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError

_BLOCK_VALUES = 4_000_000  # float32 values of one block, of vectors or of similarities: 16 MB


def cosine(projected: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean cosine between each projected student vector and its teacher's vector.

    Args:
        projected: (n, dim) student vectors after the mapping head.
        targets: (n, dim) teacher vectors, row for row; a float16 memmap is read in blocks.

    Returns:
        The mean over rows, -1 to 1; a zero vector counts as 0, and no rows at all give NaN.

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

    The two spaces may differ in dimension, so this needs no mapping head: it asks whether the student's own
    vectors would answer a search as the teacher's do. The work grows with n squared; memory does not.

    Args:
        student: (n, d) vectors.
        teacher: (n, D) vectors of the same clips in the same order.
        k: neighbours looked at, the clip itself left out; at most n - 1, where the answer is always 1.
        queries: rows whose neighbours, among all rows, are compared; None: every row.

    Returns:
        0 to 1; about k / (n - 1) for a space that knows nothing of the teacher's. NaN under two clips.

    Raises:
        OptionError: the arrays have different numbers of rows, or k is under 1.
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise OptionError(
            f"neighbour_overlap compares two (n, dim) arrays of the same n, not {student.shape} and {teacher.shape}"
        )
    if k < 1:
        raise OptionError(f"neighbour_overlap looks at k = 1 neighbour or more, not {k}")
    n = len(student)
    asked = np.arange(n) if queries is None else np.asarray(queries, np.intp)
    if n < 2 or len(asked) == 0:
        return float("nan")
    k = min(k, n - 1)
    common = 0
    for ours, theirs in zip(_nearest(student, asked, k), _nearest(teacher, asked, k), strict=True):
        common += int((ours[:, :, None] == theirs[:, None, :]).sum())
    return common / (len(asked) * k)


def _nearest(vectors: NDArray[np.floating], asked: NDArray[np.intp], k: int) -> Iterator[NDArray[np.intp]]:
    """The k nearest other rows of each row asked for, in blocks: (rows, k) indexes in no order.

    The rows of a block depend on what is asked alone, so that two spaces come in the same blocks.
    """
    n, dim = vectors.shape
    rows_at_once = 256
    columns_at_once = max(rows_at_once, min(_BLOCK_VALUES // rows_at_once, _BLOCK_VALUES // max(1, dim)))
    for start in range(0, len(asked), rows_at_once):
        rows = asked[start : start + rows_at_once]
        query = _unit(vectors[rows])
        best = np.empty((len(query), 0), np.float32)  # similarities of the nearest so far, and whose they are
        where = np.empty((len(query), 0), np.intp)
        for left in range(0, n, columns_at_once):
            right = min(left + columns_at_once, n)
            near = query @ _unit(vectors[left:right]).T
            own = np.flatnonzero((rows >= left) & (rows < right))
            near[own, rows[own] - left] = -np.inf  # a clip is not its own neighbour
            best = np.concatenate([best, near], axis=1)
            where = np.concatenate([where, np.broadcast_to(np.arange(left, right), near.shape)], axis=1)
            if best.shape[1] > k:
                keep = np.argpartition(best, -k, axis=1)[:, -k:]
                best, where = np.take_along_axis(best, keep, 1), np.take_along_axis(where, keep, 1)
        yield where


def _row_blocks(n: int, dim: int) -> Iterator[slice]:
    size = max(1, _BLOCK_VALUES // max(1, dim))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows at length 1 in float32 (a copy; float16 squares overflow); zero rows stay zero."""
    x = np.asarray(vectors, np.float32)
    # Scaled by the largest value first: a row of large float32 values would overflow when squared.
    x = x / np.maximum(np.abs(x).max(axis=1, keepdims=True, initial=0.0), np.float32(1e-30))
    return x / np.maximum(np.sqrt(np.einsum("nd,nd->n", x, x))[:, None], np.float32(1e-30))

import numpy as np
import pytest

from sondino.training.batches import Batches, fit_length, split_by_file


def split(files, splits=None, views=None, partners=None, usable=None, share=0.25, seed=0):
    n = len(files)
    return split_by_file(
        files,
        splits or [None] * n,
        np.zeros(n, int) if views is None else np.array(views),
        np.full(n, -1) if partners is None else np.array(partners),
        np.ones(n, bool) if usable is None else np.array(usable),
        share,
        seed,
    )


def test_no_file_is_on_both_sides() -> None:
    files = [f"f{i % 20}" for i in range(100)]
    both = split(files)
    held = {files[i] for i in both.validation}
    assert len(held) == 5 and held.isdisjoint(files[i] for i in both.train)
    assert len(both.train) + len(both.validation) == 100
    assert {files[i] for i in split(files, seed=1).validation} != held
    assert list(split(files[::-1]).validation) == [99 - i for i in both.validation][::-1]  # not by order, by name


def test_one_file_trains_and_two_give_one_each() -> None:
    assert len(split(["a", "a"]).validation) == 0
    assert len(split(["a", "b"]).validation) == len(split(["a", "b"]).train) == 1
    assert len(split(["a", "b"], share=0).validation) == 0


def test_the_corpus_own_split_is_kept() -> None:
    both = split(list("abcd"), splits=["train", "valid", "test", None])
    assert (list(both.train), list(both.validation)) == ([0, 3], [1])


def test_views_of_held_out_clips_and_views_with_them_mixed_in_do_not_train() -> None:
    files = ["a", "a", "b", "b", "c"]
    both = split(
        files, splits=["valid", "valid", None, None, None], views=[0, 1, 0, 1, 0], partners=[-1, -1, -1, 0, -1]
    )
    assert (list(both.train), list(both.validation)) == ([2, 4], [0])


def test_rows_without_targets_are_on_neither_side() -> None:
    both = split(list("abcd"), splits=["valid", "valid", None, None], usable=[True, False, False, True])
    assert (list(both.train), list(both.validation)) == ([3], [0])


@pytest.mark.parametrize(
    ("short", "expected"),
    [("pad", [1, 2, 3, 0, 0, 0, 0]), ("repeat", [1, 2, 3, 1, 2, 3, 1]), ("native", [1, 2, 3, 1, 2, 3, 1])],
)
def test_short_clips_fill_a_batch(short: str, expected: list[int]) -> None:
    assert fit_length(np.array([1, 2, 3], np.float32), 7, short).tolist() == expected
    assert fit_length(np.arange(9, dtype=np.float32), 7, short).tolist() == list(range(7))


def test_batches_come_in_order_whatever_thread_is_first() -> None:
    rows = [np.array([i, i + 1]) for i in range(50)]
    batches = Batches(lambda row: np.full(4, row, np.float32), 4, "pad", workers=4)
    seen = [(list(r), w[:, 0].tolist()) for r, w in batches(rows)]
    assert seen == [([i, i + 1], [i, i + 1]) for i in range(50)]


def test_a_clip_that_fails_reports_so() -> None:
    def read(row: int):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(Batches(read, 4, "pad")([np.array([0])]))

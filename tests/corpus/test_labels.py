"""The labels of rows, of which some have several."""

import numpy as np

from sondino.corpus.labels import row_labels, split_label


def test_several_labels_of_a_cell_are_marked_each():
    labels = row_labels(["b;a", None, "c", "a; b ;a;"])
    assert labels.names == ("a", "b", "c") and labels.multi_label and len(labels) == 4
    assert labels.labelled.tolist() == [True, False, True, True]
    expected = [[1, 1, 0], [-1, -1, -1], [0, 0, 1], [1, 1, 0]]
    assert labels.marks(np.arange(4)).tolist() == expected
    assert labels.marks(np.array([2, 0])).tolist() == [expected[2], expected[0]]


def test_one_label_each_is_a_class():
    labels = row_labels(["dog", None, "cat", "dog;dog"])
    assert not labels.multi_label and labels.classes().tolist() == [1, -1, 0, 1]
    nothing = row_labels([None, ""])
    assert nothing.names == () and not nothing.multi_label and nothing.classes().tolist() == [-1, -1]
    assert split_label(" ; ") == ()

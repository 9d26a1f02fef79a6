"""AudioSet's labels for sound of any source, by the id in its name."""

from collections.abc import Callable, Sequence

from sondino.lists import BETWEEN_LABELS
from sondino.tasks.audioset.copies import Lookup
from sondino.tasks.audioset.metadata import Metadata


def labels_by_id(metadata: Metadata) -> Callable[[Sequence[str]], list[tuple[str, str, str] | None]]:
    """What `sondino.corpus.build_corpus` takes as `labels_of`.

    Args:
        metadata: whose segments are known; a list that `write_segments` wrote makes a subset.

    Returns:
        a function that gives for each name the id in it, its labels joined by `;`, and its split; None where no segment
        has the id.
    """
    segments, lookup, names = metadata.segments, Lookup(metadata.segments), metadata.label_names()

    def known(row: int) -> tuple[str, str, str] | None:
        if row < 0:
            return None
        own = segments.numbers[segments.first[row] : segments.first[row + 1]].tolist()
        return segments.ids[row].decode(), BETWEEN_LABELS.join(names[n] for n in own), metadata.split_of(row)

    return lambda sounds: [known(row) for row in lookup.rows(sounds).tolist()]

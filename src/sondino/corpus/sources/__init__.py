"""Where sound comes from: one module a layout, and all of them give the same list of places.

`find` decides what was given. `tars`, `parquet` and `hdf5` each list the sounds of one layout and read them in order;
`stores` reads objects of S3 and the like in blocks. `listing` says what a place is, `fetch` opens places.
"""

from sondino.corpus.sources.fetch import Fetcher, open_source
from sondino.corpus.sources.find import UNUSED, holds_sound, list_audio
from sondino.corpus.sources.listing import (
    IDENTITY,
    NOT_UTF8,
    PLACE_COLUMNS,
    Listing,
    Opener,
    Place,
    is_url,
    not_utf8,
    places_of,
)

__all__ = [
    "IDENTITY",
    "NOT_UTF8",
    "PLACE_COLUMNS",
    "UNUSED",
    "Fetcher",
    "Listing",
    "Opener",
    "Place",
    "holds_sound",
    "is_url",
    "list_audio",
    "not_utf8",
    "open_source",
    "places_of",
]

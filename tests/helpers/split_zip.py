"""A zip in parts, as data sets are published."""

import struct
from pathlib import Path


def split_zip(file: Path, size: int) -> list[Path]:
    """Cut a zip into parts as `zip -s` does: its directory reports in which part a member begins, and where in it."""
    whole = b"PK\x07\x08" + file.read_bytes()  # the mark of a split zip
    end = whole.rindex(b"PK\5\6")
    count, length, start = struct.unpack_from("<HLL", whole, end + 10)
    start += 4
    record, place = bytearray(whole), start
    while start // size != (end + 21) // size:  # the directory stays in one part
        size -= 1
    for _ in range(count):
        offset = struct.unpack_from("<L", whole, place + 42)[0] + 4
        struct.pack_into("<H", record, place + 34, offset // size)
        struct.pack_into("<L", record, place + 42, offset % size)
        place += 46 + sum(struct.unpack_from("<3H", whole, place + 28))
    assert place == start + length
    last = start // size
    struct.pack_into("<4H2L", record, end + 4, last, last, count, count, length, start % size)
    parts = []
    for number in range(last + 1):
        parts.append(file.with_suffix(".zip" if number == last else f".z{number + 1:02d}"))
        parts[-1].write_bytes(record[number * size : None if number == last else (number + 1) * size])
    return parts

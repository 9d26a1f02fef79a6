"""Inline the external weights of an ONNX file. Needs no onnx package.

Only what leads to a weight is parsed: a model's graph, the graph's initializers, and their external locations.
"""

from collections.abc import Iterator
from pathlib import Path

GRAPH, INITIALIZER, RAW, EXTERNAL, LOCATION = 7, 5, 9, 13, 14
"""Field numbers in onnx.proto: of ModelProto, of GraphProto, and the last three of TensorProto."""

Field = tuple[int, bytes, bytes]
"""Number of a field, its bytes, and its content if it is length-delimited."""


def with_weights(file: Path) -> bytes:
    """The content of an ONNX file with every weight inside.

    Raises:
        ValueError: it is no ONNX file, or a weight is not where it should be.
        OSError: a file cannot be read.
    """
    kept: dict[str, bytes] = {}

    def weight(tensor: bytes) -> bytes:
        place: dict[str, str] = {}
        rest = []
        for number, whole, content in _fields(tensor):
            if number == EXTERNAL:
                key, value = (part for _, _, part in _fields(content))
                place[key.decode()] = value.decode()
            elif number != LOCATION:
                rest.append(whole)
        if not place:
            return tensor
        name = place["location"]
        if name not in kept:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{file.name} has weights outside of its folder, in {name}")
            kept[name] = (file.parent / name).read_bytes()
        start = int(place.get("offset", "0"))
        size = int(place["length"])
        raw = kept[name][start : start + size]
        if len(raw) != size:
            raise ValueError(f"{name} ends before a weight of {file.name}")
        return b"".join(rest) + _field(RAW, raw)

    def graph(content: bytes) -> bytes:
        return b"".join(_field(n, weight(c)) if n == INITIALIZER else whole for n, whole, c in _fields(content))

    return b"".join(_field(n, graph(c)) if n == GRAPH else whole for n, whole, c in _fields(file.read_bytes()))


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        start = at
        key, at = _number(data, at)
        content = b""
        match key & 7:
            case 0:
                _, at = _number(data, at)
            case 1:
                at += 8
            case 2:
                size, at = _number(data, at)
                content = data[at : at + size]
                at += size
            case 5:
                at += 4
            case other:
                raise ValueError(f"a field of kind {other}")
        if at > len(data):
            raise ValueError("a field that does not end")
        yield key >> 3, data[start:at], content


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint (seven bits a byte), and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("a number that does not end")
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def _field(number: int, content: bytes) -> bytes:
    return _bytes(number << 3 | 2) + _bytes(len(content)) + content


def _bytes(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)

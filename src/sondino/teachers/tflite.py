"""A LiteRT (TFLite) file read just far enough to cut it after one inner tensor.

An embedding is often not an output. Asking the runtime to keep every inner tensor costs memory and speed (and without
its fast kernels a factor of seven), so the file itself is changed, in memory: the chosen tensor becomes the only
output and the operators after the one that makes it are left out. Operators stand in the order of execution, so all
that the tensor needs stands before it. The format is FlatBuffers; its few tables are read here with `struct`, since
the runtime does not ship its schema in every version.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sondino.errors import EncoderError

# Field numbers in the schema's tables.
MODEL_SUBGRAPHS = 2
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_NAME = 0, 1, 3
OPERATOR_CODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS = 0, 1, 2
TYPES = {0: "float32", 1: "float16", 3: "uint8", 7: "int16", 9: "int8"}  # that an embedding may have


@dataclass(frozen=True)
class InnerTensor:
    """A tensor that an operator makes: its index, name, shape, type, and the operator's place in the order."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    operator: int

    def __str__(self) -> str:
        kind = "" if self.dtype == "float32" else f" {self.dtype}"
        return f"{self.name} ({', '.join(map(str, self.shape))}){kind}"


class Buffer:
    """Little-endian FlatBuffers access by position."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    def number(self, form: str, at: int) -> int:
        """A number of a `struct` format at a position."""
        return int(struct.unpack_from(f"<{form}", self.data, at)[0])

    def field(self, table: int, number: int) -> int:
        """Where a table's field stands; 0 when it is left out."""
        layout = table - self.number("i", table)
        slot = 4 + 2 * number
        offset = self.number("H", layout + slot) if slot < self.number("H", layout) else 0
        return table + offset if offset else 0

    def target(self, at: int) -> int:
        """The position that an offset points to."""
        return at + self.number("I", at)

    def vector(self, table: int, number: int) -> tuple[int, int]:
        """The position of a `vector`'s first item in FlatBuffers, and how many there are."""
        at = self.field(table, number)
        if not at:
            return 0, 0
        start = self.target(at)
        return start + 4, self.number("I", start)

    def integers(self, table: int, number: int) -> tuple[int, ...]:
        """An array of 32-bit integers."""
        start, count = self.vector(table, number)
        return struct.unpack_from(f"<{count}i", self.data, start) if count else ()

    def tables(self, table: int, number: int) -> list[int]:
        """The positions of an array of tables."""
        start, count = self.vector(table, number)
        return [self.target(start + 4 * i) for i in range(count)]

    def text(self, table: int, number: int) -> str:
        """A string; bytes that are not UTF-8 are replaced."""
        start, count = self.vector(table, number)
        return bytes(self.data[start : start + count]).decode("utf-8", "replace")


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn errors of reading into an EncoderError: the file is damaged."""
    try:
        yield
    except (struct.error, IndexError, ValueError, OverflowError, MemoryError):
        raise EncoderError(f"{where} is a damaged LiteRT (TFLite) file: fetch or copy it again") from None


def main_graph(buffer: Buffer, where: str) -> int:
    """The main subgraph; EncoderError when this is no TFLite file."""
    try:
        if bytes(buffer.data[4:8]) != b"TFL3":
            raise ValueError
        return buffer.tables(buffer.target(0), MODEL_SUBGRAPHS)[0]
    except (struct.error, IndexError, ValueError):
        raise EncoderError(f"{where} is no LiteRT (TFLite) file, or it is damaged") from None


def inner_tensors(data: bytes, where: str) -> list[InnerTensor]:
    """Every tensor of numbers that an operator of the main graph makes, in order; EncoderError for another file."""
    buffer = Buffer(data)
    graph = main_graph(buffer, where)
    found = []
    with reading(where):
        tensors = buffer.tables(graph, GRAPH_TENSORS)
        for place, operator in enumerate(buffer.tables(graph, GRAPH_OPERATORS)):
            for index in buffer.integers(operator, OPERATOR_OUTPUTS):
                kind = buffer.field(tensors[index], TENSOR_TYPE)
                dtype = TYPES.get(buffer.number("b", kind) if kind else 0)
                if dtype is None:
                    continue
                shape = buffer.integers(tensors[index], TENSOR_SHAPE)
                found.append(InnerTensor(index, buffer.text(tensors[index], TENSOR_NAME), shape, dtype, place))
    return found


def outputs(data: bytes, where: str) -> tuple[int, ...]:
    """Indexes of the main graph's outputs."""
    buffer = Buffer(data)
    with reading(where):
        return buffer.integers(main_graph(buffer, where), GRAPH_OUTPUTS)


def cut_after(data: bytes, tensor: InnerTensor, where: str) -> bytes:
    """The same model with one output, this tensor, and without the operators behind it."""
    changed = bytearray(data)
    buffer = Buffer(changed)
    graph = main_graph(buffer, where)
    with reading(where):
        start, _ = buffer.vector(graph, GRAPH_OUTPUTS)
        struct.pack_into("<Ii", changed, start - 4, 1, tensor.index)
        start, _ = buffer.vector(graph, GRAPH_OPERATORS)
        struct.pack_into("<I", changed, start - 4, tensor.operator + 1)
    return bytes(changed)

"""The part of a LiteRT (TFLite) file behind an embedding, as a file of its own that takes the embedding."""

import struct

from sondino.teachers.last_layer import Node, Tail, find_tails
from sondino.teachers.tflite import (
    GRAPH_INPUTS,
    GRAPH_OPERATORS,
    GRAPH_OUTPUTS,
    OPERATOR_CODE,
    OPERATOR_INPUTS,
    OPERATOR_OUTPUTS,
    Buffer,
    InnerTensor,
    main_graph,
    reading,
)

# Field numbers in the schema's tables.
MODEL_CODES = 1
CODE_OLD, CODE = 0, 3
ACTIVATIONS = {14: True, 25: False}  # logistic, softmax
RESHAPING = (6, 22, 43)  # dequantize, reshape, squeeze


def tails(data: bytes, embedding: InnerTensor, where: str) -> list[tuple[Tail, bytes]]:
    """The tails behind an embedding, each with the file that computes its logits.

    Args:
        data: the file.
        embedding: one of its inner tensors.
        where: the file's name, for errors.

    Raises:
        EncoderError: the file is damaged.
    """
    buffer = Buffer(data)
    graph = main_graph(buffer, where)
    with reading(where):
        codes = [max(_code(buffer, table, CODE_OLD, "b"), _code(buffer, table, CODE, "i")) for table in _codes(buffer)]
        nodes = [
            Node(
                codes[_code(buffer, operator, OPERATOR_CODE, "I")],
                buffer.integers(operator, OPERATOR_INPUTS),
                buffer.integers(operator, OPERATOR_OUTPUTS),
            )
            for operator in buffer.tables(graph, GRAPH_OPERATORS)
        ]
        inputs, outputs = buffer.integers(graph, GRAPH_INPUTS), buffer.integers(graph, GRAPH_OUTPUTS)
    found = find_tails(nodes, embedding.index, outputs, inputs, ACTIVATIONS, RESHAPING)
    return [(tail, _tail_file(data, embedding.index, tail, where)) for tail in found]


def _codes(buffer: Buffer) -> list[int]:
    return buffer.tables(buffer.target(0), MODEL_CODES)


def _code(buffer: Buffer, table: int, number: int, form: str) -> int:
    at = buffer.field(table, number)
    return buffer.number(form, at) if at else 0


def _tail_file(data: bytes, embedding: int, tail: Tail, where: str) -> bytes:
    """The file with the embedding as its input, the logits as its output, and the operators between them."""
    changed = bytearray(data)
    buffer = Buffer(changed)
    graph = main_graph(buffer, where)
    with reading(where):
        for field, index in ((GRAPH_INPUTS, embedding), (GRAPH_OUTPUTS, tail.logits)):
            start, _ = buffer.vector(graph, field)
            struct.pack_into("<Ii", changed, start - 4, 1, index)
        operators = buffer.tables(graph, GRAPH_OPERATORS)
        start, _ = buffer.vector(graph, GRAPH_OPERATORS)
        for place, node in enumerate(tail.nodes):
            at = start + 4 * place  # an offset counts from where it stands
            struct.pack_into("<I", changed, at, operators[node] - at)
        struct.pack_into("<I", changed, start - 4, len(tail.nodes))
    return bytes(changed)

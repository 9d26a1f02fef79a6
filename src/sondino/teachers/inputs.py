"""Which input of a graph takes the waveform, how its sides lie, and what the other inputs are given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError, OptionError, unknown_name
from sondino.teachers.common import write_module
from sondino.teachers.spec import TeacherSpec

MIN_SECONDS = 0.025
"""That a fixed input must hold: one frame of a log-mel; less has no spectrum, and is a row of bands or an embedding."""
MIN_SAMPLES = 16
"""That it must hold: fewer are a list of numbers, such as latitude, longitude and week."""
MAX_SAMPLES = 1 << 26
"""That it may hold: a damaged file may claim gigabytes."""
FULL_SCALE = 32768  # of 16-bit samples

Side = int | str
"""Of a shape: a number, or the name of a free side ("?" where it has none)."""
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: as in the file.
        dtype: NumPy's name of it.
        sides: its shape.
        scale: of quantised values; 0 where they are not.
        zero: the quantised value that stands for 0.
    """

    name: str
    dtype: str
    sides: tuple[Side, ...]
    scale: float = 0.0
    zero: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.sides))})"


def listed(ports: Sequence[Port]) -> str:
    """Inputs or outputs with their types and shapes."""
    return ", ".join(map(str, ports)) or "nothing"


def frames_first(answer: NDArray[np.float32], port: Port) -> NDArray[np.float32]:
    """An output (batch, dim, frames) as (batch, frames, dim): its last side is free and the one before is not."""
    is_last = len(port.sides) == 3 and isinstance(port.sides[1], int) and isinstance(port.sides[2], str)
    return np.swapaxes(answer, 1, 2) if is_last and answer.ndim == 3 else answer


@dataclass(frozen=True)
class WaveformInput:
    """How (rows, samples) waveforms go into a graph.

    Attributes:
        port: the input that takes them.
        samples: how many a waveform must have; None for any number.
        samples_axis: the side that the samples lie along.
        batch: rows a call; None for any number.
        others: the further inputs, filled.
        states: names of those of them that start at zero in every window.
        int16: samples go in as -32768 to 32767.
    """

    port: Port
    samples: int | None
    samples_axis: int
    batch: int | None
    others: Mapping[str, Array]
    states: tuple[str, ...]
    int16: bool

    def shape(self, rows: int, samples: int) -> list[int]:
        """Of the input for so many waveforms."""
        shape = [1] * len(self.port.sides)
        if self.samples_axis > 0:
            shape[0] = rows
        shape[self.samples_axis] = samples
        return shape

    def values(self, waveforms: NDArray[np.float32]) -> Array:
        """(rows, samples) as the input takes them."""
        x = np.ascontiguousarray(waveforms, dtype=np.float32).reshape(self.shape(*waveforms.shape))
        if self.int16:
            x = x * np.float32(FULL_SCALE)
        return quantised(x, self.port)


def quantised(x: NDArray[np.float32], port: Port) -> Array:
    """Float values in an input's own type."""
    if port.dtype.startswith("float"):
        return x if port.dtype == "float32" else x.astype(port.dtype)
    limits = np.iinfo(port.dtype)
    whole = np.round(x / port.scale) + port.zero if port.scale else np.round(x)
    return np.clip(whole, limits.min, limits.max).astype(port.dtype)


def dequantised(values: Array, port: Port, where: str) -> NDArray[np.float32]:
    """Values of an output as floats; EncoderError for whole numbers without a scale."""
    if not port.dtype.startswith("float") and port.scale:
        return (values.astype(np.float32) - port.zero) * np.float32(port.scale)
    if not port.dtype.startswith("float"):
        reason = f"{where} gives {port.dtype} values without a scale, not an embedding: name an output of floats"
        raise EncoderError(write_module(reason))
    return values.astype(np.float32, copy=False)


def states_notice(states: Sequence[str], path: Path) -> str:
    """A message that inputs start at zero; empty where there are none."""
    return f"{path.name}: {', '.join(states)} start at zero in every window" if states else ""


class Between:
    """What lies between two files in a row: the first one's values, scaled, in the sides of the second one's input.

    Raises:
        EncoderError: the second file does not take one input of floats.
    """

    def __init__(self, inputs: Sequence[Port], spec: TeacherSpec, path: Path) -> None:
        if len(inputs) != 1 or not (inputs[0].dtype.startswith("float") or inputs[0].scale):
            raise EncoderError(write_module(f"{path} takes {listed(inputs)}, not one input of floats"))
        self.port = inputs[0]
        self._path = path
        self._times = np.float32(spec.options.get("times", 1.0))
        self._plus = np.float32(spec.options.get("plus", 0.0))

    def values(self, answer: NDArray[np.float32], first: str) -> Array:
        """What the first file gave for one waveform, as the second one takes it; sides of 1 may lie anywhere."""
        left = [n for n in answer.shape if n != 1]
        shape = []
        free_first = isinstance(self.port.sides[0], str) and len(self.port.sides) > len(left)
        for place, side in enumerate(self.port.sides):
            shape.append(1 if side == 1 or (place == 0 and free_first) or not left else left.pop(0))
        if left or any(isinstance(s, int) and s != n for s, n in zip(self.port.sides, shape, strict=True)):
            raise EncoderError(
                write_module(
                    f"{first} gives {answer.shape} for one waveform, and {self._path} takes {self.port}: "
                    "give a window of which they fit"
                )
            )
        return quantised(answer.reshape(shape) * self._times + self._plus, self.port)


def waveform_input(
    inputs: Sequence[Port], outputs: Sequence[Port], spec: TeacherSpec, where: str, rate: int
) -> WaveformInput:
    """Find the input of waveforms, and fill the others.

    An input of the teacher's name (`NAME=NUMBER`) is filled with its number; a float input of which an output has the
    shape is a state and starts at zero.

    Args:
        inputs: of the graph.
        outputs: of the whole graph.
        spec: the teacher's name.
        where: the file, for errors.
        rate: hertz.

    Raises:
        OptionError: a number for an input that there is not, or no number for one that needs it.
        EncoderError: no input can take a waveform.
    """
    names = [port.name for port in inputs]
    if wrong := [name for name in spec.inputs if name not in names]:
        raise unknown_name(f"option of {spec.kind}, or input of {where},", wrong[0], [*spec.options, *names])
    free = [port for port in inputs if port.name not in spec.inputs]
    faults: dict[str, str] = {}
    found: list[WaveformInput] = []
    for port in free:
        try:
            found.append(_as_waveform(port, spec, rate))
        except ValueError as fault:
            faults[port.name] = str(fault)
    if not found:
        reasons = "; ".join(f"{name} {fault}" for name, fault in faults.items())
        raise EncoderError(write_module(f"{where} takes {listed(inputs)}, not a waveform: {reasons or 'no input'}"))
    # Of several that could be, the one of any length, else the longest: a state is shorter than sound.
    chosen = max(found, key=lambda one: math.inf if one.samples is None else one.samples)
    if (chosen.samples or 0) > MAX_SAMPLES:
        raise EncoderError(f"{where} takes {listed(inputs)}: more samples than a window of audio has")
    others, states, lacking = _fill_others(inputs, outputs, chosen.port.name, spec)
    if lacking:
        example = "".join(
            f"{'&' if i or spec.options or spec.inputs else '?'}{p.name}=NUMBER" for i, p in enumerate(lacking)
        )
        raise OptionError(
            write_module(
                f"{where} takes {listed(inputs)}: {chosen.port.name} is the waveform, and {listed(lacking)} must be "
                f"given: add {example}, such as sr={rate} for a sample rate"
            )
        )
    batch = 1 if others and chosen.batch is None else chosen.batch
    return WaveformInput(chosen.port, chosen.samples, chosen.samples_axis, batch, others, states, chosen.int16)


def _fill_others(
    inputs: Sequence[Port], outputs: Sequence[Port], waveform: str, spec: TeacherSpec
) -> tuple[dict[str, Array], tuple[str, ...], list[Port]]:
    """The further inputs filled, the names of states, and those for which nobody says what they are given."""
    others: dict[str, Array] = {}
    states, lacking = [], []
    left = [port for port in outputs if port.name != spec.tensor or len(port.sides) > 2]
    for port in inputs:
        if port.name == waveform:
            continue
        state = next((o for o in left if _same_form(port, o)), None)
        if port.name in spec.inputs:
            value = spec.inputs[port.name]
        elif port.dtype.startswith("float") and port.sides and state is not None:
            value = 0.0
            left.remove(state)
            states.append(port.name)
        else:
            lacking.append(port)
            continue
        others[port.name] = np.full([s if isinstance(s, int) else 1 for s in port.sides], value, dtype=port.dtype)
    return others, tuple(states), lacking


def _same_form(port: Port, output: Port) -> bool:
    """Whether an output can be the next value of an input."""
    pairs = list(zip(port.sides, output.sides, strict=False))
    return (
        port.dtype == output.dtype
        and len(port.sides) == len(output.sides)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in pairs)
    )


def _as_waveform(port: Port, spec: TeacherSpec, rate: int) -> WaveformInput:
    """One input as that of waveforms; ValueError says what it looks like instead."""
    whole = not port.dtype.startswith("float")
    if whole and not (port.dtype == "int16" or port.scale):
        raise ValueError(f"is {port.dtype}")
    sides = port.sides
    if not 1 <= len(sides) <= 4:
        raise ValueError(f"has {len(sides)} sides")
    axis = _samples_axis(sides, spec.options.get("layout"))
    samples = sides[axis] if isinstance(sides[axis], int) else None
    batch = sides[0] if axis > 0 else 1
    int16 = spec.options.get("range") == "int16" or (whole and not port.scale)
    if isinstance(samples, int) and (samples < MIN_SAMPLES or samples < MIN_SECONDS * rate):
        raise ValueError(
            f"holds {samples} numbers, {samples / rate:.3g} s at {rate} Hz: a waveform has at least "
            f"{max(MIN_SAMPLES, math.ceil(MIN_SECONDS * rate))} ({MIN_SECONDS:g} s), so these are other values"
        )
    return WaveformInput(port, samples, axis, batch if isinstance(batch, int) else None, {}, (), int16)  # type: ignore[arg-type]


def _samples_axis(sides: tuple[Side, ...], layout: str | None) -> int:
    """The side of the samples: the only one behind the batch that is not 1; ValueError where there is no such side."""
    inner = [axis for axis in range(1, len(sides)) if sides[axis] != 1]
    if not inner:
        return 0
    if len(inner) == 1:
        return inner[0]
    if len(sides) == 3 and layout is not None:
        axis, channel = (2, 1) if layout == "first" else (1, 2)
        if isinstance(sides[channel], str):
            return axis
    if len(sides) == 3 and isinstance(sides[1], str) and isinstance(sides[2], str):
        return 2  # all free: (batch, channels, samples), as PyTorch has it
    fixed = [side for axis, side in enumerate(sides) if axis > 0 and isinstance(side, int) and side > 1]
    bands = f"{fixed[-1]} bands" if fixed else "bands"
    raise ValueError(f"looks like a spectrogram of {bands}, or like sound of several channels")

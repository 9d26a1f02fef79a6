"""The forms in which sound is given to a model, as other packages have it, and the list of sounds that they become.

A sound is a path, an open binary file, an (array, rate), or a decoder as Hugging Face's datasets give them.
`list_sounds` makes a list of these of whatever was given; nothing is decoded before its turn comes.
"""

import io
import os
from array import array as PythonArray
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sondino.audio.decoded import FilePart
from sondino.audio.walk import find_audio
from sondino.errors import AudioError, OptionError
from sondino.text import first_line

CHANNELS = 8  # that an array has at most: more rows may as well be a batch of sounds

_WANTED = "give a path, an (array, rate), or a list of those"


class SampleDecoder(Protocol):
    """A decoder such as torchcodec's AudioDecoder."""

    def get_all_samples(self) -> Any:
        """All samples: `data` (channels, samples), -1 to 1, and `sample_rate` in hertz."""
        ...


Sound = str | os.PathLike[str] | BinaryIO | FilePart | tuple[ArrayLike, int] | SampleDecoder
"""A path, an open binary file, a part of a file, an array with its rate, or a decoder."""


def list_sounds(given: object, rate: float | None = None) -> list[Sound]:
    """A flat list of sounds; a folder becomes its files.

    Args:
        given: a sound, or a row {"array", "sampling_rate"} or {"path", "bytes"} of a data set; or several of those, in
            a list, a Series, an array of paths or anything else with an order. With `rate`: an array (samples,),
            (channels, samples) or (samples, channels), or several of those.
        rate: hertz of all arrays.

    Raises:
        OptionError: what was given is something else, an array without its rate, or a rate without an array.
        AudioError: a folder without audio.
    """
    if rate is not None:
        return _list_arrays(given, rate)
    single = _as_sounds(given, "")
    if single is not None:
        return single
    flat: list[Sound] = []
    for at, item in enumerate(_items(given)):
        sounds = _as_sounds(item, f"sound {at} of the list: ")
        if sounds is None:
            raise OptionError(f"sound {at} of the list is a {_type(item)}: give a path or an (array, rate)")
        flat += sounds
    _check_files_differ(flat)
    return flat


def as_waveforms(given: object) -> NDArray[Any] | None:
    """The array that was given without a rate, of any shape; None where it is no array of numbers."""
    return None if isinstance(given, (list, tuple)) else as_array(given)


def check_waveforms(waveforms: NDArray[Any], sample_rate: int) -> None:
    """Raises OptionError unless an array that came without a rate can be waveforms (batch, samples) of floats.

    Args:
        waveforms: what was given.
        sample_rate: hertz, for the message.
    """
    if waveforms.ndim != 2:
        raise OptionError(
            f"an array of shape {waveforms.shape} came without its rate: give (array, rate), or waveforms "
            f"(batch, samples) at {sample_rate} Hz"
        )
    if waveforms.dtype.kind != "f":
        raise OptionError(f"waveforms of {waveforms.dtype}: give float32 from -1 to 1, or (array, rate)")
    if 0 < waveforms.shape[1] <= CHANNELS < waveforms.shape[0]:
        raise OptionError(
            f"an array of shape {waveforms.shape} came without its rate and would be {waveforms.shape[0]} clips of "
            f"{waveforms.shape[1]} samples: give (array, rate) if it is one sound of {waveforms.shape[1]} channels"
        )


def samples_of(sound: Sound) -> tuple[ArrayLike, int] | None:
    """The (array, rate) that a sound is, or that its decoder gives; None for paths and files.

    Raises:
        AudioError: the decoder fails.
    """
    if isinstance(sound, tuple):
        return sound
    decode = getattr(sound, "get_all_samples", None)
    if decode is None:
        return None
    try:
        decoded = decode()
        data, rate = as_array(decoded.data), decoded.sample_rate
    except Exception as error:  # whatever a decoder raises is this sound's error
        raise AudioError(f"not a sound that can be decoded ({first_line(error)})") from error
    return _with_rate(data, rate, "")


def sound_name(sound: Sound) -> str:
    """A path, or the name of an open file, for messages; "" where a sound has none."""
    if isinstance(sound, (str, os.PathLike)):
        return os.fspath(sound)
    name = getattr(sound, "name", "")
    return name if isinstance(name, str) else ""


# ---- one sound --------------------------------------------------------------------------------------------------


def _as_sounds(given: object, where: str) -> list[Sound] | None:
    """The sound that something is, or a folder's files; None where it is neither.

    Args:
        given: anything.
        where: begins the messages.
    """
    if isinstance(given, (str, os.PathLike)):
        path = cast("str | os.PathLike[str]", given)
        return list(find_audio(path)) if os.path.isdir(path) else [path]  # noqa: PTH112 - of a long name it is False
    if isinstance(given, FilePart):
        return [given]
    if isinstance(given, (bytes, bytearray)):
        raise OptionError(f"{where}bytes are no sound by themselves: give io.BytesIO(...) of a file's content")
    if isinstance(given, Mapping):
        return [_of_row(given, where)]
    if hasattr(given, "get_all_samples"):
        return [cast(SampleDecoder, given)]
    if isinstance(given, io.TextIOBase):
        raise OptionError(f"{where}{sound_name(cast(BinaryIO, given)) or 'a file'} is open as text: open it with 'rb'")
    if callable(getattr(given, "read", None)):
        return [cast(BinaryIO, given)]
    if isinstance(given, tuple) and len(given) == 2:
        first, second = given
        if _is_number(first) and as_array(second) is not None:
            raise OptionError(f"{where}a rate came before its array: give (array, rate)")
        array = as_array(first)
        if array is not None:
            return [_with_rate(array, second, where)]
        if isinstance(first, (list, tuple)) and _is_number(second):
            raise OptionError(
                f"{where}a list with one rate may be sounds or the channels of one: give a list of (array, rate), "
                "or an array (channels, samples)"
            )
    return None


def _of_row(row: Mapping[Any, Any], where: str) -> Sound:
    """The sound of a row of a data set, as Hugging Face's datasets give them."""
    if row.get("array") is not None:
        if row.get("sampling_rate") is None:
            raise OptionError(f"{where}a dict with an array has no sampling_rate: give it in hertz")
        return _with_rate(as_array(row["array"], nested=True), row["sampling_rate"], where)
    if row.get("bytes") is not None:
        if not isinstance(row["bytes"], (bytes, bytearray, memoryview)):
            raise OptionError(f"{where}bytes of a dict is a {_type(row['bytes'])}: give the content of a file")
        file = io.BytesIO(row["bytes"])
        if isinstance(row.get("path"), str):
            file.name = row["path"]  # for messages
        return file
    if isinstance(row.get("path"), (str, os.PathLike)):
        return cast("str | os.PathLike[str]", row["path"])
    if "audio" in row:
        raise OptionError(f"{where}this is a row of a data set: give its sound, row['audio']")
    raise OptionError(
        f"{where}a dict with the keys {', '.join(map(repr, list(row)[:5])) or 'none'} is no sound: give 'array' and "
        "'sampling_rate', 'path' or 'bytes'"
    )


# ---- arrays -----------------------------------------------------------------------------------------------------


def _list_arrays(given: object, rate: float) -> list[Sound]:
    array = as_array(given)
    if array is not None:
        return [_with_rate(array, rate, "")]
    given_rate = f"a rate of {rate!r} was given, and"
    if isinstance(given, tuple) and len(given) == 2 and _is_number(given[1]):
        raise OptionError(f"{given_rate} the (array, rate) has one: leave one of them out")
    no_list = isinstance(given, (str, os.PathLike, bytes, Mapping)) or not isinstance(given, Iterable)
    if no_list or hasattr(given, "read"):
        raise OptionError(f"{given_rate} this is no array ({_type(given)}): leave rate out")
    sounds: list[Sound] = []
    for at, item in enumerate(_items(given)):
        array = as_array(item, nested=True)
        if array is None:
            raise OptionError(f"{given_rate} sound {at} of the list is no array ({_type(item)}): leave rate out")
        sounds.append(_with_rate(array, rate, f"sound {at} of the list: "))
    return sounds


def _with_rate(array: NDArray[Any] | None, rate: Any, where: str) -> tuple[NDArray[Any], int]:
    """An array with its rate, which `audio.from_array` checks further."""
    if array is None:
        raise OptionError(f"{where}what came with a rate is no array of samples: {_WANTED}")
    if getattr(rate, "ndim", 0) > 0 or isinstance(rate, (list, tuple)):
        raise OptionError(f"{where}an array came with a {_type(rate)} in the place of its rate: give (array, rate)")
    if array.ndim == 2 and 1 not in array.shape:
        if array.shape[0] == array.shape[1]:
            raise OptionError(
                f"{where}an array of shape {array.shape} has two sides that may be its channels: give their mean"
            )
        if min(array.shape) > CHANNELS:
            raise OptionError(
                f"{where}an array of shape {array.shape} with one rate would be one sound of {min(array.shape)} "
                "channels: give a list of (array, rate) for several sounds, or the mean of the channels"
            )
    return array, rate.item() if hasattr(rate, "item") else rate  # also of torch, as datasets give it


def as_array(given: object, nested: bool = False) -> NDArray[Any] | None:
    """Numbers as a NumPy array: arrays of any package, tensors, and lists of numbers; None for anything else.

    Args:
        given: anything.
        nested: whether a list may hold lists.

    Raises:
        OptionError: an array that NumPy cannot take.
    """
    if isinstance(given, (list, tuple)):
        if not given or not (_is_number(given[0]) or (nested and isinstance(given[0], (list, tuple)))):
            return None
    elif isinstance(given, (str, bytes, os.PathLike)) or not (
        isinstance(given, PythonArray) or hasattr(given, "__array__")
    ):
        return None
    try:
        array = np.asarray(_on_cpu(given))
    except Exception as error:  # each package has errors of its own
        raise OptionError(
            f"a {_type(given)} cannot be made a NumPy array ({first_line(error)}): make it one"
        ) from error
    return array if array.dtype.kind in "biufc" and not (array.ndim == 0 and _is_number(given)) else None


def _on_cpu(given: Any) -> Any:
    """A tensor of torch as float32 or integers in NumPy, from any device, without its gradient; others as they are."""
    if not (hasattr(given, "detach") and hasattr(given, "is_floating_point")):
        return given
    return (given.float() if given.is_floating_point() else given).numpy(force=True)  # NumPy has no bfloat16


# ---- lists ------------------------------------------------------------------------------------------------------


def _items(given: object) -> Iterable[Any]:
    if hasattr(given, "columns"):
        raise OptionError(f"this is a table ({_type(given)}): give the column that holds the sounds")
    if hasattr(given, "to_pylist"):  # of pyarrow
        return cast(Iterable[Any], given.to_pylist())
    if isinstance(given, (set, frozenset)) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        raise OptionError(f"this is no sound ({_type(given)}): {_WANTED}")
    array = as_waveforms(given)
    if array is not None:
        raise OptionError(f"an array of shape {array.shape} came without its rate: give (array, rate)")
    return given


def _check_files_differ(sounds: list[Sound]) -> None:
    """Raises OptionError where one open file is given twice: it has one position, and threads read ahead."""
    seen: dict[int, int] = {}
    for at, sound in enumerate(sounds):
        if hasattr(sound, "read"):
            first = seen.setdefault(id(sound), at)
            if first != at:
                raise OptionError(f"sounds {first} and {at} of the list are the same open file: open it for each")


def _is_number(given: object) -> bool:
    return isinstance(given, (Real, np.number)) and not isinstance(given, (bool, np.bool_))


def _type(given: object) -> str:
    return type(given).__name__

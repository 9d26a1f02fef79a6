"""Shows, when a teacher is opened, that what it takes is sound: its answers must depend on the waveform."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError, SondinoError
from sondino.teachers.common import write_module
from sondino.text import first_line

Array = NDArray[np.float32]
SAME = 1e-4
"""Answers closer than this, relative to the largest difference of any two, are the same but for rounding."""
ROUNDING = 1e-7  # of the largest value: less is no difference at all; a net before its training differs by 1e-6


def check_takes_sound(embed: Callable[[Array], Array], length: int, longer: int | None, what: str) -> int:
    """Check that a model takes waveforms, with a few calls, and return the dimension of its embeddings.

    A sweep that fades, of mean 0, is embedded as it is and with clicks, beside silence. Clicks must change the answer,
    also where they stand behind the first quarter, and the sweep must not be silence to the model, as it is where the
    mean of the samples is all that counts; a model of any length must give the same dimension for a longer sound. A
    warning is printed where the order of the samples does not matter.

    Args:
        embed: (batch, samples) to (batch, dim).
        length: samples of a waveform.
        longer: of one that the model must take too; None where its length is fixed.
        what: file and input, for errors.

    Raises:
        EncoderError: it does not.
    """
    sweep = fading_sweep(length)
    clicks = sweep.copy()
    clicks[length // 4 :: max(2, length // 200)] = 0.9
    shuffled = np.random.default_rng(0).permutation(sweep)
    try:
        answers = [embed(sound[None]) for sound in (np.zeros_like(sweep), sweep, clicks, shuffled)]
        longer_dim = None if longer is None else embed(fading_sweep(longer)[None]).shape[1]
    except SondinoError as error:
        raise EncoderError(write_module(str(error))) from error
    except Exception as error:  # of whatever runs the model
        raise EncoderError(write_module(f"{what} fails on {length} samples: {first_line(error)}")) from error
    silence, plain, clicked, other_order = answers
    if longer_dim not in (None, plain.shape[1]):
        raise EncoderError(
            write_module(
                f"{what} gives {plain.shape[1]} values for {length} samples and {longer_dim} for {longer}: the length "
                "of an embedding must not depend on that of the sound"
            )
        )
    if not all(np.isfinite(answer).all() for answer in answers):
        return plain.shape[1]  # the check of an encoder says where
    largest = max(float(np.abs(answer).max(initial=0)) for answer in answers)
    scale = max(float(np.abs(answer - silence).max(initial=0)) for answer in answers)
    if scale <= ROUNDING * largest:
        reason = "gives the same for silence, a sweep and clicks: it does not depend on the sound"
        raise EncoderError(write_module(f"{what} {reason}"))
    if _same(plain, clicked, scale):
        reason = (
            "gives the same with clicks behind the first quarter as without: it does not take the whole input as sound"
        )
        raise EncoderError(write_module(f"{what} {reason}"))
    if _same(plain, silence, scale):
        reason = "gives the same for a sweep as for silence: it does not take sound"
        raise EncoderError(write_module(f"{what} {reason}"))
    if _same(plain, other_order, scale):
        logging.getLogger(__name__).warning(
            "%s gives the same for the samples in any other order, as a level does: make sure that it takes a waveform",
            what,
        )
    return plain.shape[1]


def fading_sweep(length: int) -> Array:
    """A sweep over all frequencies that fades, of mean 0: no two stretches of it are alike."""
    at = np.arange(length) / max(1, length)
    sweep = 0.5 * np.sin(np.pi * length * at**2 / 2) * (1 - at)
    return (sweep - sweep.mean()).astype(np.float32)


def _same(a: Array, b: Array, scale: float) -> bool:
    return float(np.abs(a - b).max(initial=0)) <= SAME * scale

"""Audio files to embeddings: each is decoded, cut into windows and prepared; threads or one thread embed them."""

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import Source
from sondino.audio.reading import open_blocks
from sondino.audio.signal import Scale, check_array_rate, from_array, resampled_blocks
from sondino.audio.windows import ShortPolicy, Windowing, WindowPolicy, iter_windows
from sondino.encoder.embedded import Clip, Prepared
from sondino.encoder.embedded import Embedded as Embedded
from sondino.encoder.encoder import Encoder, ResolvedEncoder, resolve
from sondino.encoder.in_turn import embed_in_turn
from sondino.encoder.inputs import Sound as Sound
from sondino.encoder.inputs import samples_of
from sondino.encoder.side_by_side import embed_side_by_side
from sondino.errors import EncoderError, OptionError, SondinoError

BATCH = 16  # windows of equal length in a batch, at most
BATCH_SECONDS = 10.0  # of audio in a batch: more is no faster on a CPU, and takes memory
MAX_WINDOW_SECONDS = 3600.0  # seconds of a window


def resolve_windowing(
    encoder: Encoder,
    window: float | None = None,
    hop: float | None = None,
    short: ShortPolicy | None = None,
    policy: WindowPolicy | None = None,
) -> Windowing:
    """The encoder's own windowing, with the given options in place of its own.

    The encoder's hop belongs to its window: where another window is given, the hop is that window.

    Raises:
        OptionError: an unknown `short` or `policy`, or a window of more than an hour or of NaN.
    """
    own = resolve(encoder).windowing
    if window is not None and not window <= MAX_WINDOW_SECONDS:  # NaN neither
        raise OptionError(f"window is {window:g} s: give {MAX_WINDOW_SECONDS:g} s at the most")
    return Windowing(
        own.window if window is None else window,
        hop if hop is not None else (own.hop if window is None else None),
        own.short if short is None else short,
        own.policy if policy is None else policy,
    )


def readers(threads: int) -> int:
    """Threads that decode ahead for a model of one worker, of so many in all: decoding takes about half of its time.

    With two threads the calling one decodes, in turn with the model: another would compete with the model's own.
    """
    return 0 if threads < 3 else min(8, threads // 3)


def batch_size(samples: int, sample_rate: int) -> int:
    """Batch size for windows of so many samples."""
    return min(BATCH, max(1, int(BATCH_SECONDS * sample_rate / samples)))


def embed_sounds(
    model: Encoder,
    sounds: Sequence[Sound],
    windowing: Windowing,
    per_window: bool = False,
    readers: int = 2,
    scale: Scale = "none",
    channels: Sequence[int | None] | None = None,
) -> Generator[Embedded, None, None]:
    """Embed sounds, and yield the result of each in order. A sound that cannot be decoded has its own error.

    Args:
        model: any encoder.
        sounds: as `inputs.list_sounds` lists them.
        windowing: from `resolve_windowing`.
        per_window: a row for every window, where otherwise a sound has one.
        readers: threads that decode ahead for a model of one worker; 0: decode in turn with it.
        scale: "auto" divides whole numbers in a wider type by their full scale.
        channels: of each sound, from 1, or None for the mean; None: the mean of all.

    Raises:
        EncoderError: the model fails, or its embeddings have another dimension than it states.
    """
    model = resolve(model)

    def windows_of(sound: Sound, channel: int | None) -> Iterator[Prepared]:
        # Nothing is opened before the first window is asked for: an error then belongs to this sound.
        samples = samples_of(sound)
        if samples is not None:
            array, given = samples
            check_array_rate(given)
            rate = rate_of(model, given, windowing)
            yield from prepared_windows([from_array(array, given, rate, scale, channel)], rate, model, windowing)
            return

        def taken_at(rate: int, is_cut: bool) -> int:
            # Where a sound is cut off it has all frequencies, up to half the rate that it is cut at. So a stretch that
            # is padded depends on the rate; what is resampled first is as in training.
            return model.sample_rate if is_cut else rate_of(model, rate, windowing)

        with open_blocks(cast(Source, sound), taken_at, scale, channel) as (rate, blocks):
            yield from prepared_windows(blocks, rate, model, windowing)

    def read(clip: Clip) -> Iterator[Prepared]:
        sound = sounds[clip.index]
        try:
            yield from windows_of(sound, None if channels is None else channels[clip.index])
        except EncoderError:
            raise
        except SondinoError as error:
            clip.error = error

    if model.workers > 1:
        yield from embed_side_by_side(model, len(sounds), read, per_window)
    else:
        yield from embed_in_turn(model, len(sounds), read, per_window, readers)


def rate_of(model: ResolvedEncoder, rate: float, windowing: Windowing) -> int:
    """Hertz at which a sound of a rate is cut into windows: its own where the model takes it, else the model's."""
    # As the published package computes it, embeddings are those of resampled sound.
    own = windowing.policy != "published" and rate == int(rate) and model.takes_rate(int(rate))
    return int(rate) if own else model.sample_rate


def prepared_windows(
    blocks: Iterable[NDArray[np.float32]], rate: int, model: ResolvedEncoder, windowing: Windowing
) -> Iterator[Prepared]:
    """Cut a sound that comes in blocks (samples,) at a rate that `rate_of` gave into windows, and prepare each."""
    if rate != model.sample_rate and windowing.short == "repeat" and windowing.window is not None:
        size = round(windowing.window * rate)
        held: list[NDArray[np.float32]] = []
        blocks = iter(blocks)
        while sum(map(len, held)) < size and (block := next(blocks, None)) is not None:
            held.append(block)
        if sum(map(len, held)) < size:
            # Repeated after resampling, as in training: it makes a difference where the end meets the beginning.
            blocks = resampled_blocks(iter(held), rate, model.sample_rate)
            rate = model.sample_rate
        else:
            blocks = itertools.chain(held, blocks)
    for window, start, real in iter_windows(blocks, model.sample_rate, windowing, model.minimum, rate):
        # Here, while it is in the processor's cache: a log-mel takes less memory than its window.
        yield model.prepare(window, rate), start, real, batch_size(len(window), rate)

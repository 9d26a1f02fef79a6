"""Sounds embedded by one thread and by several: in order, in bounded memory, and no thread is left afterwards."""

import subprocess
import sys
import threading
import weakref
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.tiny_bundle import TINY_RATE, tiny_vectors
from helpers.tiny_encoder import Tiny
from sondino.encoder import in_turn, pipeline, side_by_side
from sondino.errors import EncoderError, OptionError


@pytest.mark.parametrize(("workers", "readers"), [(1, 0), (1, 1), (1, 3), (2, 0), (3, 0)])
def test_a_long_sound_is_never_held_whole(monkeypatch, workers, readers):
    """Counts windows that were cut and have not been through the model."""
    alive = peak = 0
    guard = threading.Lock()

    def endless(rate):
        nonlocal alive, peak
        for _ in range(200):
            with guard:
                alive += 1
                peak = max(peak, alive)
            yield np.ones(rate, np.float32)

    class Counting(Tiny):
        def __init__(self):
            super().__init__()
            self.workers = workers

        def embed(self, waveforms):
            nonlocal alive
            with guard:
                alive -= len(waveforms)
            return tiny_vectors(waveforms)

    monkeypatch.setattr(pipeline, "open_blocks", lambda *_: nullcontext((TINY_RATE, endless(TINY_RATE))))
    how = pipeline.resolve_windowing(Counting())
    found = list(pipeline.embed_sounds(Counting(), ["a", "b", "c", "d", "e"], how, readers=readers))
    assert [f.index for f in found] == [0, 1, 2, 3, 4]
    assert all(f.seconds == 200 and f.embeddings.tolist() == [[1, 1, 1]] for f in found)
    if workers == 1:
        # A round of windows, and a queue and the window in hand of each reader.
        assert peak <= in_turn.GATHERED + readers * (in_turn.QUEUE + 2) + 1
    else:
        # Batches that wait, and the batch in the model, the one being gathered and the window in hand of each thread.
        assert peak <= (workers - 1) * 10 + workers * (2 * 10 + 1)


def test_windows_of_one_sound_that_are_embedded_in_any_order_keep_theirs(monkeypatch):
    """The first batch ends after the second and third."""
    later = threading.Event()

    class Late(Tiny):
        workers = 3

        def embed(self, waveforms):
            if waveforms[0, 0] == np.float32(0.1):
                assert later.wait(60)
            elif waveforms[0, 0] == np.float32(0.3):
                later.set()
            return tiny_vectors(waveforms)

    monkeypatch.setattr(pipeline, "BATCH", 1)
    levels = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    sound = (np.repeat(levels, TINY_RATE), TINY_RATE)
    how = pipeline.resolve_windowing(Late())
    (found,) = pipeline.embed_sounds(Late(), [sound], how, per_window=True)
    assert found.starts.tolist() == [0, 1, 2, 3]
    assert found.embeddings == pytest.approx(tiny_vectors(levels[:, None].repeat(TINY_RATE, 1)))
    later.clear()
    (mean,) = pipeline.embed_sounds(Late(), [sound], how)
    assert mean.embeddings[0] == pytest.approx(found.embeddings.mean(axis=0))


def test_sounds_are_read_side_by_side_and_given_in_order(monkeypatch):
    """The first sound ends only once the other thread waits, which has then read all that it may begin."""
    other_waits = threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout=None):
            other_waits.set()
            return super().wait(timeout)

    monkeypatch.setattr(side_by_side, "AHEAD", 5)
    monkeypatch.setattr(side_by_side, "Condition", Watched)
    read = []

    class Two(Tiny):
        workers = 2

    class Slow:
        def __init__(self, number):
            self.number = number

        def __array__(self, dtype=None, copy=None):
            read.append(self.number)
            if self.number == 0:
                assert other_waits.wait(60)
                assert sorted(read) == [0, 1, 2, 3, 4]  # the other thread may be the first
            return np.full(TINY_RATE, self.number / 10, np.float32)

    sounds = [(Slow(number), TINY_RATE) for number in range(8)]
    found = list(pipeline.embed_sounds(Two(), sounds, pipeline.resolve_windowing(Two())))
    assert [each.index for each in found] == [0, 1, 2, 3, 4, 5, 6, 7]
    for each in found:
        assert each.embeddings == pytest.approx(tiny_vectors(np.full((1, TINY_RATE), each.index / 10, np.float32)))


def test_an_error_of_the_model_in_another_thread_is_raised_at_once_and_ends_all(monkeypatch):
    """The first sound, of 50 windows, goes on once the thread of the second has ended."""
    monkeypatch.setattr(pipeline, "BATCH", 1)
    failing: list[threading.Thread] = []
    in_other = threading.Event()

    class Fails(Tiny):
        workers = 2

        def embed(self, waveforms):
            if threading.current_thread() is not threading.main_thread():
                failing.append(threading.current_thread())
                in_other.set()
                raise EncoderError("no memory")
            assert in_other.wait(60)
            failing[0].join(60)
            return super().embed(waveforms)

    before = set(threading.enumerate())  # of which some may end meanwhile: those of earlier tests
    sounds = [(np.ones(seconds * TINY_RATE), TINY_RATE) for seconds in (50, 1, 1, 1)]
    model = Fails()
    with pytest.raises(EncoderError, match="no memory"):
        list(pipeline.embed_sounds(model, sounds, pipeline.resolve_windowing(model)))
    assert set(threading.enumerate()) <= before
    assert len(model.shapes) <= 1


def test_windows_behind_a_slow_batch_are_not_held(monkeypatch):
    """The first batch of 60 ends after 40 others: of what is prepared only what waits is there then."""
    monkeypatch.setattr(pipeline, "BATCH", 1)
    prepared: list[weakref.ref] = []
    alive: list[int] = []
    taken, many = threading.Event(), threading.Semaphore(0)

    class Slow(Tiny):
        workers = 3

        def takes_rate(self, rate):
            return rate == TINY_RATE

        def prepare(self, waveform, rate):
            if len(prepared) == 2:  # the thread that reads takes a batch where three wait, and could not go on with it
                assert taken.wait(60)
            kept = waveform.copy()
            prepared.append(weakref.ref(kept))
            return kept

        def embed_prepared(self, waveforms):
            if waveforms[0, 0] == 0:
                taken.set()
                for _ in range(40):
                    assert many.acquire(timeout=60)
                alive.append(sum(one() is not None for one in prepared))
            many.release()
            return tiny_vectors(waveforms)

    sound = (np.repeat(np.arange(60, dtype=np.float32) / 100, TINY_RATE), TINY_RATE)
    (found,) = pipeline.embed_sounds(Slow(), [sound], pipeline.resolve_windowing(Slow()), per_window=True)
    assert len(found.embeddings) == 60
    # Two batches that wait, one in each of three threads, and the window in hand.
    assert alive[0] <= 2 + 3 + 2


@pytest.mark.parametrize("workers", [1, 3])
def test_stopping_in_the_middle_leaves_no_thread(monkeypatch, workers):
    class Several(Tiny):
        pass

    Several.workers = workers

    def endless(*_):  # each its own: a generator that two threads are in at once is an error, which ends them
        return nullcontext((TINY_RATE, (np.ones(TINY_RATE, np.float32) for _ in range(10_000))))

    monkeypatch.setattr(pipeline, "open_blocks", endless)
    monkeypatch.setattr(in_turn, "GATHERED", 1)
    before = set(threading.enumerate())  # of which some may end meanwhile: those of earlier tests
    how = pipeline.resolve_windowing(Several())
    found = pipeline.embed_sounds(Several(), [(np.ones(5), TINY_RATE), *"abcdefghij"], how, readers=3)
    next(found)
    assert set(threading.enumerate()) - before
    found.close()
    assert set(threading.enumerate()) <= before


@pytest.mark.full
def test_an_hour_is_embedded_in_constant_memory(tmp_path):
    minute = np.random.default_rng(0).uniform(-0.5, 0.5, 60 * 8000).astype(np.float32)
    for name, minutes in (("short", 2), ("hour", 60)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(minute)
    code = (
        "import resource, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from helpers.tiny_encoder import Tiny\n"
        "from sondino.embedding.files import embed_files\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "embed_files(sys.argv[2] + '/short.wav', Tiny(), sys.argv[2] + '/short.npz', threads=2)\n"
        "before = peak()\n"
        "report = embed_files(sys.argv[2] + '/hour.wav', Tiny(), sys.argv[2] + '/hour.npz', threads=2)\n"
        "print(report.seconds, peak() - before)\n"
    )
    run = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)]
    seconds, grown = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert float(seconds) == 3600
    assert float(grown) < 30  # MiB; the hour itself is 220


def test_methods_that_mean_something_else_are_left_alone():
    class Prepares(Tiny):
        def prepare(self):
            raise AssertionError("loads its weights")

    (found,) = pipeline.embed_sounds(
        Prepares(), [(np.ones(5 * TINY_RATE), TINY_RATE)], pipeline.resolve_windowing(Tiny())
    )
    assert found.error is None and found.seconds == 5


def test_a_window_of_nan_is_refused():
    with pytest.raises(OptionError, match="window is nan s"):
        pipeline.resolve_windowing(Tiny(), window=float("nan"))

"""What is held of long sounds while they are embedded: a bounded number of windows, and no thread afterwards."""

import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.tiny_bundle import TINY_RATE, tiny_vectors
from helpers.tiny_encoder import Tiny
from sondino.encoder import pipeline
from sondino.errors import OptionError


@pytest.mark.parametrize("readers", [0, 1, 3])
def test_a_long_sound_is_never_held_whole(monkeypatch, readers):
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
    # A round of windows, and a queue and the window in hand of each reader.
    assert peak <= pipeline.GATHERED + readers * (pipeline.QUEUE + 2) + 1


def test_stopping_in_the_middle_leaves_no_thread(monkeypatch):
    blocks = (np.ones(TINY_RATE, np.float32) for _ in range(10_000))
    monkeypatch.setattr(pipeline, "open_blocks", lambda *_: nullcontext((TINY_RATE, blocks)))
    monkeypatch.setattr(pipeline, "GATHERED", 1)
    before = threading.active_count()
    how = pipeline.resolve_windowing(Tiny())
    found = pipeline.embed_sounds(Tiny(), [(np.ones(5), TINY_RATE), *"abcdefghij"], how, readers=3)
    next(found)
    assert threading.active_count() > before
    found.close()
    assert threading.active_count() == before


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

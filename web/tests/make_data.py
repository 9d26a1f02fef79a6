"""Writes data/*.json, what the page's tests compare with: computed by sondino's own Python.

python web/tests/make_data.py
"""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sondino.audio.signal import resample, to_mono
from sondino.audio.windows import Windowing, merge, stack_windows
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.frontend.logmel import EFFICIENTAT_LOGMEL, MATPAC_LOGMEL, STUDENT_LOGMEL, LogMel, at_rate
from sondino.frontend.logmel_numpy import log_mel

DATA = Path(__file__).parent / "data"
RNG = np.random.default_rng(5)


def packed(array: Any) -> str:
    """float32 as base64."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def sound(samples: int, rate: int) -> np.ndarray:
    """Noise, a rising tone and a click, so that every band has something."""
    t = np.arange(samples) / rate
    x = 0.1 * RNG.standard_normal(samples) + 0.3 * np.sin(2 * np.pi * (200 + 0.2 * rate * t / t[-1]) * t)
    x[samples // 3] += 0.5
    return x.astype(np.float32)


def write(name: str, content: Any) -> None:
    """One file of data."""
    (DATA / f"{name}.json").write_text(json.dumps(content) + "\n")


def log_mel_case(spec: LogMel, x: np.ndarray) -> dict[str, Any]:
    """A waveform and its log-mel."""
    y = log_mel(spec, x.astype(np.float32))
    return {"spec": spec.as_dict(), "waveform": packed(x), "bands": y.shape[0], "mels": packed(y)}


def resample_case(rate: int, to: int) -> dict[str, Any]:
    """A waveform at one rate and at another."""
    x = sound(1201, rate)
    return {"from": rate, "to": to, "waveform": packed(x), "resampled": packed(resample(x, rate, to))}


def main() -> None:
    """Write all of it."""
    DATA.mkdir(exist_ok=True)
    to_the_top = replace(EFFICIENTAT_LOGMEL, f_max=16000.0, n_fft=512, window_length=512, n_mels=40)
    mels = []
    for spec in (STUDENT_LOGMEL, MATPAC_LOGMEL, EFFICIENTAT_LOGMEL, to_the_top):
        x = np.concatenate([sound(spec.n_fft + 3 * spec.hop + 11, spec.sample_rate), np.zeros(2 * spec.n_fft)])
        mels.append(log_mel_case(spec, x))
    write("logmel", mels)
    write("resample", [resample_case(rate, 32000) for rate in (44100, 48000, 16000, 96000, 22050)])

    cuts = []
    for short in ("pad", "native", "repeat"):
        for samples in (1, 30, 99, 100, 101, 250, 300):
            for hop in (None, 40):
                x = np.arange(1, samples + 1, dtype=np.float32)
                seconds = None if hop is None else hop / 100
                cut, starts, weights = stack_windows(x, 100, Windowing(1.0, seconds, short), 50)
                how = {"window": 100, "hop": hop, "short": short, "minimum": 50}
                vectors = np.stack([cut.sum(axis=1), (cut**2).sum(axis=1)], axis=1).astype(np.float32)
                cuts.append(
                    {
                        **{"how": how, "samples": samples, "starts": [round(s * 100) for s in starts]},
                        **{"real": weights.tolist(), "sums": vectors[:, 0].tolist()},
                        **{"vectors": packed(vectors), "merged": packed(merge(vectors, weights))},
                    }
                )
    write("windows", cuts)

    left = sound(1000, 32000)
    other = sound(1000, 32000)
    quiet_first = [1e-3 * other, left, -left]
    monos = [
        quiet_first,
        [left, other],
        [left, -left],
        [np.zeros_like(left), left],
        [0.3 * left, -0.3 * left + 1e-4 * other, left],
    ]
    write("mono", [{"channels": [packed(c) for c in cs], "mono": packed(to_mono(np.stack(cs, 1)))} for cs in monos])

    wavs = []
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        for kind in ("WAV", "WAVEX"):
            content = io.BytesIO()
            soundfile.write(content, np.stack([left, other], 1)[:40], 22050, subtype, format=kind)
            read, _ = soundfile.read(io.BytesIO(content.getvalue()), dtype="float32")
            file = base64.b64encode(content.getvalue()).decode()
            wavs.append(
                {"subtype": f"{kind} {subtype}", "file": file, "left": packed(read[:, 0]), "right": packed(read[:, 1])}
            )
    write("wav", wavs)

    kinds = (
        ("FLAC", "PCM_16", 22050),
        ("OGG", "VORBIS", 44100),
        ("OGG", "OPUS", 48000),
        ("MP3", "MPEG_LAYER_III", 24000),
    )
    heads = []
    for kind, subtype, rate in (*kinds, ("MP3", "MPEG_LAYER_III", 32000)):
        content = io.BytesIO()
        soundfile.write(content, left[:1000], rate, subtype, format=kind)
        heads.append(
            {"kind": f"{kind} {subtype}", "rate": rate, "file": base64.b64encode(content.getvalue()[:300]).decode()}
        )
    write("rate", heads)

    probabilities = []
    for multi, activation in ((False, "relu"), (True, "hardswish")):
        layers = [(RNG.standard_normal((o, i)), RNG.standard_normal(o)) for i, o in ((6, 4), (4, 3))]
        head = Head("h", ("a", "b", "c"), multi, tuple(layers), activation)  # type: ignore[arg-type]
        vector = RNG.standard_normal(6).astype(np.float32)
        weights = np.concatenate([part.ravel() for layer in head.layers for part in layer])
        told = {"labels": list(head.labels), "multi_label": multi, "activation": activation, "sizes": [6, 4, 3]}
        given = {"vector": packed(vector), "weights": packed(weights)}
        probabilities.append({"head": told, **given, "expected": packed(head.probabilities(vector[None])[0])})
    write("head", probabilities)

    # After all others, whose random numbers stay as they were.
    specs = [at_rate(STUDENT_LOGMEL, rate) for rate in (16000, 48000, 256000)]
    write("logmel_rates", [log_mel_case(spec, sound(spec.n_fft + spec.hop, spec.sample_rate)) for spec in specs])
    write("resample_rates", [resample_case(*rates) for rates in ((48000, 16000), (48000, 256000), (44100, 96000))])

    means, vectors = RNG.standard_normal((3, 6)), RNG.standard_normal((40, 6)).astype(np.float32)
    directions = np.linalg.qr(RNG.standard_normal((6, 2)))[0].T
    quantiles = np.array([0.5, 4, 4, 10, 20, 25])  # two in one place
    score = Unlike(means, directions, np.array([3, 2, 0.5]), quantiles)  # type: ignore[arg-type]
    values, vectors[0] = np.frombuffer(score.as_bytes(), "<f4"), means[1]
    expected = {"vectors": packed(vectors), "expected": packed(score.scores(vectors))}
    write("unlike", {"sizes": score.sizes, "dim": 6, "values": packed(values), **expected})


if __name__ == "__main__":
    main()

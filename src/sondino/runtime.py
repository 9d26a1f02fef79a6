"""A finished model: a bundle's model.onnx on ONNX Runtime, raw waveform in, vector out. Needs no torch."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sondino.audio import ShortPolicy, find_audio
from sondino.errors import AudioError, EncoderError, OptionError, SondinoError
from sondino.files import cores
from sondino.pipeline import Sound, cutting, embed_sounds

FORMAT = "sondino-bundle-1"


class Model:
    """An encoder over a bundle.

    Attributes:
        name: what the model is called.
        sample_rate: hertz of the waveforms it takes.
        dim: length of its vectors.
        window: seconds that a sound is cut into; None = whole.
        hop: seconds from one window to the next; None = `window`.
        short: what becomes of a clip under a window.
        minimum: samples under which a waveform is zero-padded.
        fingerprint: changes whenever the vectors would.
        config: all of config.json.
        threads: processor threads that it runs on.
    """

    name: str
    sample_rate: int
    dim: int
    window: float | None
    hop: float | None
    short: ShortPolicy
    minimum: int
    fingerprint: str
    config: dict[str, Any]
    threads: int

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        """Open a bundle.

        Args:
            folder: holds config.json and model.onnx.
            threads: processor threads to run on; None: all that this process may use.

        Raises:
            SondinoError: a file is missing, or damaged (its hash is not the one in config.json).
        """
        import onnxruntime

        self.folder = Path(folder)
        self.threads = thread_count(threads)
        self.config = _read_config(self.folder / "config.json")
        self._take_config()
        file = self.folder / "model.onnx"
        try:
            data = file.read_bytes()
        except OSError as error:
            raise SondinoError(f"{file}: cannot be read ({error.strerror}); copy the whole bundle again") from error
        digest = hashlib.sha256(data).hexdigest()
        expected = self.config.get("hashes", {}).get("model.onnx", digest)
        if digest != expected:
            raise SondinoError(
                f"{file}: is damaged, its hash is not the one in config.json; copy the whole bundle again"
            )
        hearing = [digest, self.sample_rate, self.dim, self.window, self.hop, self.short, self.minimum]
        self.fingerprint = hashlib.sha256(json.dumps(hearing).encode()).hexdigest()

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait would take the cores from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise SondinoError(f"{file}: ONNX Runtime cannot open it ({_first_line(error)})") from error
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def _take_config(self) -> None:
        where = self.folder / "config.json"
        config = self.config
        if config.get("format") != FORMAT:
            raise SondinoError(
                f"{where}: format is {config.get('format')!r}, where this version of sondino reads {FORMAT!r}"
            )
        try:
            self.name = str(config["name"])
            self.sample_rate = int(config["sample_rate"])
            self.dim = int(config["dim"])
            self.window = None if config["window"] is None else float(config["window"])
            self.hop = None if config.get("hop") is None else float(config["hop"])
            self.short = cast(ShortPolicy, config.get("short", "pad"))
            self.minimum = int(config.get("minimum", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise SondinoError(f"{where}: is damaged ({error!r}); copy the whole bundle again") from error
        if self.short not in get_args(ShortPolicy):
            raise SondinoError(f"{where}: short is {self.short!r}; it must be one of {get_args(ShortPolicy)}")

    def __repr__(self) -> str:
        window = "any length" if self.window is None else f"{self.window:g} s"
        return f"Model({self.name!r}, {self.dim} dimensions from {window} at {self.sample_rate} Hz)"

    def embed(
        self,
        sounds: NDArray[np.float32] | Sound | Sequence[Sound],
        *,
        short: ShortPolicy | None = None,
        window: float | None = None,
        hop: float | None = None,
    ) -> NDArray[np.float32]:
        """Turn sounds into vectors.

        Args:
            sounds: a path, a folder, an (array, rate), or a list of those: mixed to mono, resampled, cut into windows,
                and the windows' vectors averaged by their real samples. Or waveforms (batch, samples) float32 at
                `sample_rate`, which go through the model as they are.
            short: clips under a window are zero-padded ("pad"), heard at their own length ("native") or repeated
                ("repeat"); None: as the model says.
            window: seconds; None: the model's.
            hop: seconds from one window to the next; None: the model's.

        Returns:
            (n, dim) float32, a row a sound. A folder counts as the sounds in it, sorted.

        Raises:
            AudioError: a sound cannot be heard.
            OptionError: an array without its rate.
        """
        if isinstance(sounds, np.ndarray):
            return self._embed_waveforms(sounds)
        how = cutting(self, window, hop, short)
        rows = []
        with closing(embed_sounds(self, _listed(sounds), how, readers=self._readers())) as embedded:
            for found in embedded:
                if found.error is not None:
                    raise found.error
                rows.append(found.vectors)
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_windows(
        self,
        sound: Sound,
        *,
        short: ShortPolicy | None = None,
        window: float | None = None,
        hop: float | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Turn one sound into a vector a window.

        Args:
            sound: a path or an (array, rate).
            short: as in `embed`.
            window: as in `embed`.
            hop: as in `embed`.

        Returns:
            vectors (n, dim) float32; starts (n,) in seconds. The last window is zero-padded.
        """
        sounds = _listed(sound)
        if len(sounds) != 1:
            raise OptionError(f"embed_windows takes one sound, and was given {len(sounds)}")
        how = cutting(self, window, hop, short)
        (found,) = embed_sounds(self, sounds, how, windows=True, readers=self._readers())
        if found.error is not None:
            raise found.error
        return found.vectors, found.starts

    def _readers(self) -> int:
        return min(4, self.threads) if self.threads > 1 else 0

    def _embed_waveforms(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        if waveforms.ndim != 2:
            raise OptionError(
                f"an array of shape {waveforms.shape} came without its rate: give (array, rate), or waveforms "
                f"(batch, samples) at {self.sample_rate} Hz"
            )
        batch, samples = waveforms.shape
        if batch == 0:
            return np.zeros((0, self.dim), np.float32)
        if samples == 0:
            raise AudioError("waveforms of zero samples hold no sound")
        x = np.ascontiguousarray(waveforms, dtype=np.float32)
        if samples < self.minimum:
            x = np.pad(x, ((0, 0), (0, self.minimum - samples)))
        try:
            vectors = self._session.run([self._output], {self._input: x})[0]
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise EncoderError(
                f"{self.name}: the model failed on waveforms of shape {x.shape} ({_first_line(error)})"
            ) from error
        return np.asarray(vectors, dtype=np.float32)


def thread_count(threads: int | None) -> int:
    """How many threads to use: as many as asked, or as this process may.

    Raises:
        OptionError: not a whole number above 0.
    """
    if threads is None:
        return cores()
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise OptionError(f"threads is {threads!r}: give a whole number, 1 or more")
    return int(threads)


def _listed(sounds: Sound | Sequence[Sound]) -> list[Sound]:
    """A flat list of sounds; folders become their files."""
    if isinstance(sounds, (str, os.PathLike)):
        return list(find_audio(sounds)) if Path(sounds).is_dir() else [sounds]
    if _is_array_with_rate(sounds):
        return [cast(tuple[ArrayLike, int], sounds)]
    if not isinstance(sounds, Sequence):
        raise OptionError(f"cannot embed a {type(sounds).__name__}: give a path, an (array, rate), or a list of those")
    flat: list[Sound] = []
    for at, sound in enumerate(cast(Sequence[Any], sounds)):
        if not isinstance(sound, (str, os.PathLike)) and not _is_array_with_rate(sound):
            raise OptionError(f"sound {at} of the list is a {type(sound).__name__}: give a path or an (array, rate)")
        flat += _listed(sound)
    return flat


def _is_array_with_rate(sound: object) -> bool:
    return isinstance(sound, tuple) and len(sound) == 2 and not isinstance(sound[0], (str, os.PathLike, tuple))


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SondinoError(f"{file}: cannot be read ({error.strerror}); name the folder of a bundle") from error
    except ValueError as error:
        raise SondinoError(f"{file}: is damaged ({error}); copy the whole bundle again") from error
    if not isinstance(config, dict):
        raise SondinoError(f"{file}: is damaged (no table of values); copy the whole bundle again")
    return config


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

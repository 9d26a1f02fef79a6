"""Run a bundle's ONNX model with ONNX Runtime or OpenVINO: audio in, embeddings out. Needs no torch."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy, deepcopy
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

import sondino.files as files
from sondino.audio.signal import Scale
from sondino.audio.windows import ShortPolicy, WindowPolicy, check_policy
from sondino.encoder.encoder import Costs
from sondino.encoder.head import Head
from sondino.encoder.inputs import Sound, as_waveforms, check_waveforms, list_sounds, sound_name
from sondino.encoder.pipeline import batch_size, embed_sounds, readers, resolve_windowing
from sondino.errors import AudioError, EncoderError, OptionError, SondinoError, content_elsewhere, require
from sondino.frontend.logmel import LogMel
from sondino.frontend.logmel_numpy import log_mel, takes_rate
from sondino.locks import restore
from sondino.metrics.agreement import cosines
from sondino.model.config import read_checked_config
from sondino.model.head import read_head
from sondino.model.places import here, movable
from sondino.model.sessions import Engine, Precision, Session, open_session
from sondino.text import first_line

if TYPE_CHECKING:
    from sondino.model.torch_model import TorchModel

Resample = Literal["auto", "always"]
"""Whether sound at another rate than the model's is resampled where its log-mel needs no resampling."""

Sounds = Sound | Mapping[str, Any] | ArrayLike | Iterable[Any]
"""What `encoder.inputs.list_sounds` takes, or waveforms (batch, samples)."""


class Model:
    """An encoder over a bundle.

    Pickled, it holds the path of its bundle and how it was opened; where it is unpickled, the bundle is opened again.

    Attributes:
        name: what the model is called.
        sample_rate: hertz of the waveforms it takes.
        dim: embedding dimension.
        window: seconds of the windows that clips are cut into; None: clips are not cut.
        hop: seconds from one window to the next; None: `window`.
        short: how clips under a window are processed: "pad", "native" or "repeat".
        window_policy: "all", or "published": full windows only.
        minimum: samples under which a waveform is zero-padded.
        head: from embeddings to labels; None if the model has none.
        fingerprint: changes whenever the embeddings would.
        config: all of config.json.
        path: of model.onnx.
        licence: of the weights, where the bundle has it.
        threads: processor threads that it runs on.
        workers: recommended number of concurrent `embed_batch` calls.
        precision: that it computes in: "float32", "bfloat16" or "float16".
        resample: "auto" or "always".
        exact: computed by ONNX Runtime in float32, as verified when the bundle was written.

    Examples:
        >>> model = sondino.Model("run/bundle")
        >>> model.embed(["recordings/bass_hit_c.ogg", "recordings/drum_cowbell.ogg"]).shape
        (2, 96)
    """

    name: str
    sample_rate: int
    dim: int
    window: float | None
    hop: float | None
    short: ShortPolicy
    minimum: int
    head: Head | None
    fingerprint: str
    config: dict[str, Any]

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        *,
        window_policy: WindowPolicy = "all",
        device: str = "cpu",
        engine: Engine = "onnxruntime",
        precision: Precision = "float32",
        resample: Resample = "auto",
    ) -> None:
        """Open a bundle.

        Args:
            folder: holds config.json and model.onnx.
            threads: processor threads to run on; None: all that this process may use.
            window_policy: "all" keeps short clips and tails; "published" takes full windows only.
            device: "cpu" or "cuda".
            engine: "onnxruntime" or "openvino".
            precision: "float32", or with OpenVINO "bfloat16" or "float16".
            resample: "auto" computes the log-mel at the rate of the sound, where that is as good as resampling first;
                "always" resamples, as training does.

        Raises:
            OptionError: an engine, device or precision that is not there, or not for this bundle.
            SondinoError: a file is missing, or damaged (its hash is not the one in config.json).
        """
        self.folder = Path(folder)
        self.path = self.folder / "model.onnx"
        self._asked_threads = threads
        self.threads = self.workers = files.thread_count(threads)
        if engine == "openvino" and self.threads > 1:
            self.workers = 2 * self.threads  # it computes on threads of its own: those that call it wait
        check_policy(window_policy)
        self.window_policy = window_policy
        self.precision = precision
        if resample not in get_args(Resample):
            raise OptionError(f"resample is {resample!r}: give auto or always")
        self.resample = resample
        self.exact = engine == "onnxruntime" and device == "cpu"
        restore(self.folder)
        self._take_config()
        if precision == "float16" and self.config.get("precision") == "int8":
            raise OptionError(
                f"precision float16: {self.name} is an int8 bundle, and float16 is for bundles in float32; "
                "leave precision out"
            )
        self._opened_as = (device, engine, precision, resample)
        self._open()
        settings = [self._digests, self.sample_rate, self.dim, self.window, self.hop, self.short, self.minimum]
        opened_as = [window_policy, engine, precision, device, resample]
        self.fingerprint = sha256(json.dumps([*settings, *opened_as]).encode()).hexdigest()

    def _open(self) -> None:
        """Open the net."""
        device, engine, precision, _ = self._opened_as
        self._digests = {name: self._check_hash(name) for name in ("model.onnx", "body.onnx")}
        # Where the bundle has its net by itself the front-end runs in numpy, as a real FFT: in the graph it is a
        # product of matrices that takes longer than the net.
        body = self._logmel is not None and (self.folder / "body.onnx").exists()
        file = self.folder / ("body.onnx" if body else "model.onnx")
        self._front_end = self._logmel if body else None
        self._session: Session = open_session(file, self.threads, device, engine, precision)

    def _check_hash(self, name: str) -> str:
        file = self.folder / name
        expected = self.config.get("hashes", {}).get(name)
        if expected is None and name != "model.onnx":
            return ""
        try:
            digest = files.sha256(file)
        except OSError as error:
            reason = content_elsewhere(file) or f"{file}: cannot be read ({error.strerror}); {self._again()}"
            raise SondinoError(reason) from error
        if digest != (expected or digest):
            raise SondinoError(
                content_elsewhere(file)
                or f"{file}: is damaged, its hash is not the one in config.json; {self._again()}"
            )
        return digest

    def _again(self) -> str:
        """How to get an undamaged bundle: one in our cache is made again once it is deleted."""
        from sondino.hub.cache import models_folder

        kept = models_folder().resolve() in self.folder.resolve().parents
        return f"delete {self.folder}, and it is made anew" if kept else "copy the whole bundle again"

    def _take_config(self) -> None:
        self.config, config = read_checked_config(self.folder / "config.json")
        self.name, self.sample_rate = config.name, config.sample_rate
        self.dim = config.dim
        self.licence = config.licence or (config.source.licence if config.source else None)
        self.window, self.hop, self.short, self.minimum = config.window, config.hop, config.short, config.minimum
        self._logmel = None if config.front_end is None else LogMel.from_dict(self.config["front_end"])
        self.head = read_head(self.folder, self.config["head"]) if config.head else None
        self._own_short, self._own_head = self.short, True
        if self.head is not None and self.head.short is not None:
            self.short = self.head.short

    def __getstate__(self) -> dict[str, Any]:
        """Where the bundle is and how it was opened: another process opens it again."""
        device, engine, precision, resample = self._opened_as
        opened = {
            "window_policy": self.window_policy,
            "device": device,
            "engine": engine,
            "precision": precision,
            "resample": resample,
        }
        return {
            "name": self.name,
            "folder": movable(self.folder),
            "threads": self._asked_threads,
            "opened": opened,
            "fingerprint": self.fingerprint,
            "own_head": self._own_head,
            "head": None if self._own_head else self.head,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        folder = here(state["folder"])
        restore(folder)
        if not folder.is_dir():
            raise SondinoError(
                f"{folder}: the folder of the model {state['name']} is not here; a pickled model holds the path of "
                "its bundle, not the weights: copy the bundle to that path, or load the model again"
            )
        Model.__init__(self, folder, state["threads"], **state["opened"])
        if self.fingerprint != state["fingerprint"]:
            raise SondinoError(f"{folder}: is another bundle than the one that was sent here; load it again")
        if not state["own_head"]:
            self._take_head(state["head"])

    def __copy__(self) -> "Model":
        model = object.__new__(type(self))
        vars(model).update(vars(self))  # shares the open net
        return model

    def __deepcopy__(self, memo: dict[int, Any]) -> "Model":
        model = copy(self)
        model.config = deepcopy(self.config, memo)
        return model

    def __repr__(self) -> str:
        window = "any length" if self.window is None else f"{self.window:g} s"
        return f"Model({self.name!r}, {self.dim} dimensions from {window} at {self.sample_rate} Hz)"

    def embed(
        self,
        sounds: Sounds,
        rate: float | None = None,
        *,
        short: ShortPolicy | None = None,
        window: float | None = None,
        hop: float | None = None,
        window_policy: WindowPolicy | None = None,
        scale: Scale = "none",
        channel: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed clips.

        Args:
            sounds: a path, a folder, an (array, rate), an open binary file, a row of audio of Hugging Face's datasets,
                or several of those: mixed to mono, resampled, cut into windows, and the windows' embeddings averaged,
                weighted by their real samples. Or waveforms (batch, samples) float32 at `sample_rate`, which are
                neither resampled nor cut. Arrays are NumPy's, torch's or another package's; 8- to 32-bit integers are
                scaled, and of two sides the shorter one is the channels.
            rate: hertz, where `sounds` is one array, (samples,) or with up to 8 channels, or a list of arrays.
            short: clips under a window are zero-padded ("pad"), processed without padding ("native") or repeated
                ("repeat"); None: the model's.
            window: seconds; None: the model's.
            hop: seconds from one window to the next; None: the model's.
            window_policy: "all" keeps short clips and tails, "published" takes full windows only; None: the model's.
            scale: "auto" divides whole numbers in a wider type, such as 16-bit samples stored as floats, by their full
                scale; "none" takes them as they are, with a warning.
            channel: of each sound, from 1; None: the mean of all.

        Returns:
            (n, dim) float32, one row per clip. A folder stands for the files in it, sorted.

        Raises:
            AudioError: a clip cannot be decoded.
            OptionError: an array without its rate, or something that is no sound.
        """
        waveforms = as_waveforms(sounds) if rate is None else None
        if waveforms is not None:
            return self._embed_waveforms(waveforms)
        windowing = resolve_windowing(self, window, hop, short, window_policy)
        rows = []
        listed = list_sounds(sounds, rate)
        ahead, channels = readers(self.threads), [channel] * len(listed)
        with closing(embed_sounds(self, listed, windowing, False, ahead, scale, channels)) as embedded:
            for found in embedded:
                if found.error is not None:
                    raise _named(found.error, listed[found.index], found.index, len(listed))
                rows.append(found.embeddings)
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_windows(
        self,
        sound: Sound | Mapping[str, Any] | ArrayLike,
        rate: float | None = None,
        *,
        short: ShortPolicy | None = None,
        window: float | None = None,
        hop: float | None = None,
        window_policy: WindowPolicy | None = None,
        scale: Scale = "none",
        channel: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Embed one clip, window by window.

        Args:
            sound: a path, an (array, rate), an open binary file, or a row of audio of Hugging Face's datasets.
            rate: hertz, where `sound` is an array.
            short: as in `embed`.
            window: as in `embed`.
            hop: as in `embed`.
            window_policy: as in `embed`.
            scale: as in `embed`.
            channel: as in `embed`.

        Returns:
            embeddings (n, dim) float32; starts (n,) in seconds. The last window is zero-padded.
        """
        sounds = list_sounds(sound, rate)
        if len(sounds) != 1:
            raise OptionError(f"embed_windows takes one sound, and was given {len(sounds)}")
        windowing = resolve_windowing(self, window, hop, short, window_policy)
        (found,) = embed_sounds(self, sounds, windowing, True, readers(self.threads), scale, [channel])
        if found.error is not None:
            raise _named(found.error, sounds[0], 0, 1)
        return found.embeddings, found.starts

    def costs(self) -> Costs:
        """Parameters, and multiply-accumulates for 10 s, as the bundle's config has them."""
        return Costs(self.config.get("macs_per_10s"), self.config.get("parameters"))

    def with_head(self, head: Head) -> "Model":
        """The same model with another head; short clips are processed as while the head was fitted.

        Args:
            head: from embeddings to labels; `sondino.load(model, head=NAME)` takes published ones by name.

        Raises:
            OptionError: it takes embeddings of another dimension.
        """
        model = copy(self)
        model._take_head(head)
        return model

    def _take_head(self, head: Head) -> None:
        if head.dim != self.dim:
            takes = f"the head {head.name} takes embeddings of {head.dim} dimensions"
            raise OptionError(
                f"{takes}, and those of {self.name} have {self.dim}: take a head that was fitted on this model"
            )
        self.head, self._own_head = head, False
        self.short = head.short or self._own_short

    def classify(self, sounds: Sounds, rate: float | None = None, **how: Any) -> NDArray[np.float32]:
        """Probabilities of the head's labels, from the embeddings that `embed` returns.

        Args:
            sounds: as in `embed`.
            rate: as in `embed`.
            how: the options of `embed`.

        Returns:
            (n, labels) float32, in the order of `head.labels`.

        Raises:
            OptionError: the model has no head.
        """
        if self.head is None:
            raise OptionError(f"{self.name} has no head: fit one with `sondino probe`, or take model.with_head(...)")
        return self.head.probabilities(self.embed(sounds, rate, **how))

    def torch_model(self) -> "TorchModel":
        """The model as a torch module, to train further; needs `pip install 'sondino[train]'`."""
        require("torch", "train")
        from sondino.model.torch_model import TorchModel

        model = TorchModel.open(self.folder)
        model.short = self.short
        if self.head is not None:  # which need not be the folder's
            model.set_head(self.head)
        return model

    def cosine_to_float32(self, waveforms: NDArray[np.float32]) -> NDArray[np.float64]:
        """The cosine of each embedding to that of ONNX Runtime in float32: what another engine or precision costs.

        Args:
            waveforms: (batch, samples) at `sample_rate`.

        Returns:
            (batch,) cosines.
        """
        exact = Model(self.folder, self.threads).embed(waveforms).astype(np.float64)
        mine = self.embed(waveforms).astype(np.float64)
        return cosines(exact, mine)

    def takes_rate(self, rate: int) -> bool:
        """Whether `prepare` takes waveforms at a rate (hertz) as they are."""
        if rate == self.sample_rate:
            return True
        return self.resample == "auto" and self._front_end is not None and takes_rate(self._front_end, rate)

    def prepare(self, waveform: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """What `embed_prepared` takes of a waveform (samples,): its log-mel, or where that is in the graph, itself.

        Args:
            waveform: (samples,); zero-padded where it is under `minimum`.
            rate: hertz of it, which `takes_rate` takes.
        """
        missing = -(-self.minimum * rate // self.sample_rate) - len(waveform)
        if missing > 0:
            waveform = np.pad(waveform, (0, missing))
        return waveform if self._front_end is None else log_mel(self._front_end, waveform, rate)

    def embed_prepared(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a few prepared waveforms (batch, ...) on the calling thread alone."""
        try:
            return self._session(prepared)
        except Exception as error:  # the engines' errors have no common base
            raise EncoderError(
                f"{self.name}: the model failed on an input of shape {prepared.shape} ({first_line(error)})"
            ) from error

    def embed_batch(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """`embed` of a few waveforms (batch, samples) on the calling thread alone."""
        if self._front_end is None:
            return self.embed_prepared(waveforms)
        return self.embed_prepared(np.stack([self.prepare(waveform, self.sample_rate) for waveform in waveforms]))

    def _embed_waveforms(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        check_waveforms(waveforms, self.sample_rate)
        batch, samples = waveforms.shape
        if batch == 0:
            return np.zeros((0, self.dim), np.float32)
        if samples == 0:
            raise AudioError("waveforms of zero samples hold no sound")
        x = np.ascontiguousarray(waveforms, dtype=np.float32)
        if samples < self.minimum:
            x = np.pad(x, ((0, 0), (0, self.minimum - samples)))
        size = batch_size(samples, self.sample_rate)
        if batch <= size:
            return self.embed_batch(x)
        parts = [x[first : first + size] for first in range(0, batch, size)]
        with ThreadPoolExecutor(self.workers) as pool:
            return np.concatenate(list(pool.map(self.embed_batch, parts)))


def _named(error: SondinoError, sound: Sound, index: int, count: int) -> SondinoError:
    """The error with the clip's name in its message."""
    name = sound_name(sound)
    if name:
        return error if name in str(error) else type(error)(f"{name}: {error}")
    return type(error)(f"sound {index} of the list: {error}") if count > 1 else error

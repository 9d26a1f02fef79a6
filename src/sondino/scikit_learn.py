"""A model as a transformer of scikit-learn: clips in, embeddings out."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.windows import ShortPolicy, WindowPolicy
from sondino.encoder.inputs import as_array
from sondino.encoder.pipeline import resolve_windowing
from sondino.errors import OptionError, SondinoError, require
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.model.model import Model
from sondino.pretrained.load import load

if TYPE_CHECKING:
    from sklearn import base
else:
    base = require("sklearn.base", "report")


class SondinoEmbedder(base.TransformerMixin, base.BaseEstimator):
    """Embeds clips as a step of a scikit-learn pipeline.

    X is a list, an array or a Series of paths; an array (n, samples), or a list of arrays of any lengths, with
    `sample_rate`; or a list of anything else that `Model.embed` takes. Each has one row of the result. Nothing is
    learnt: `transform` works without `fit`.

    Args:
        model: a Model, or what `sondino.load` opens. A name or path is opened where it is used, so that the embedder
            can be copied, pickled and sent to other processes.
        sample_rate: hertz of arrays; None: X holds no arrays.
        window_policy: "all" or "published"; None: the model's.
        short: what is done with a clip under a window: "pad", "native" or "repeat"; None: the model's.
        threads: processor threads; None: all. Of a Model that was given, its own count.

    Attributes:
        n_features_out_: the model's embedding dimension; set by `fit`.
        fingerprint_: of the model that `fit` opened; another one at `transform` is an error.

    Raises:
        MissingExtra: scikit-learn is not installed.

    Examples:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> clips = ["bass_dnb_f", "bass_hit_c", "drum_cowbell", "drum_snare_soft"]
        >>> clips = [f"recordings/{clip}.ogg" for clip in clips]
        >>> classifier = make_pipeline(sondino.SondinoEmbedder("run/bundle"), LogisticRegression())
        >>> classifier.fit(clips, ["bass", "bass", "drum", "drum"]).predict(clips).shape
        (4,)
    """

    _opened: tuple[tuple[str, int | None], Model] | None = None

    def __init__(
        self,
        model: str | PathLike[str] | Model = DEFAULT_MODEL,
        sample_rate: float | None = None,
        *,
        window_policy: WindowPolicy | None = None,
        short: ShortPolicy | None = None,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.sample_rate = sample_rate
        self.window_policy = window_policy
        self.short = short
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> "SondinoEmbedder":
        """Open the model and check the options and the form of X; nothing is decoded.

        Args:
            X: n clips, as the class says.
            y: not used.

        Raises:
            OptionError: an option out of range, or X is not n clips.
            SondinoError: the model cannot be opened.
        """
        self._opened = None  # a path may hold another bundle by now
        model = self._model()
        resolve_windowing(model, short=self.short, policy=self.window_policy)
        self._list_clips(X)
        self.n_features_out_, self.fingerprint_ = model.dim, model.fingerprint
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """The embeddings of n clips.

        Args:
            X: n clips, as the class says.

        Returns:
            (n, dim) float32.

        Raises:
            AudioError: a clip cannot be decoded.
            OptionError: X is not n clips.
            SondinoError: the model is another one than `fit` opened.
        """
        model = self._model()
        if getattr(self, "fingerprint_", model.fingerprint) != model.fingerprint:
            raise SondinoError(f"{model.name}: is another model than the one at fit; fit again")
        clips, rate = self._list_clips(X)
        return model.embed(clips, rate, short=self.short, window_policy=self.window_policy)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names of the columns: "sondinoembedder0" and so on.

        Args:
            input_features: not used.
        """
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(self._model().dim)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # X may be paths
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_opened"}

    def _model(self) -> Model:
        """The model, opened once for each name and count of threads."""
        if isinstance(self.model, Model):
            return self.model
        if not isinstance(self.model, (str, PathLike)):
            kind = type(self.model).__name__
            raise OptionError(f"model is a {kind}: give a name or path that sondino.load opens, or a Model")
        asked = (str(self.model), self.threads)
        if self._opened is None or self._opened[0] != asked:
            source = Path(self.model) if isinstance(self.model, PathLike) else self.model
            self._opened = asked, load(source, self.threads)
        return self._opened[1]

    def _list_clips(self, X: Any) -> tuple[Sequence[Any], float | None]:
        """X as a list, and the rate of its arrays; None where they are none."""
        if hasattr(X, "columns") and hasattr(X, "to_numpy"):  # a table of one column of paths, or of samples
            X = X.to_numpy()
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1 and X.dtype.kind in "OUT":
            X = X[:, 0]
        array = as_array(X) if not isinstance(X, (list, tuple)) else None
        if array is not None and array.ndim not in (2, 3):
            raise OptionError(
                f"X is an array of shape {array.shape}: give (n, samples), or a list of arrays (samples,)"
            )
        if hasattr(X, "tocsr"):
            raise OptionError("X is sparse, and sound is not: give a dense array (n, samples)")
        if isinstance(X, (str, bytes, PathLike)) or not (hasattr(X, "__len__") and hasattr(X, "__iter__")):
            raise OptionError(f"X is a {type(X).__name__}: give a list of clips, one row each")
        clips: Sequence[Any] = list(X if array is None else array)
        if not clips:
            raise OptionError("X holds no clips")
        arrays = [as_array(clip) is not None for clip in clips]
        if any(arrays):
            if not all(arrays):
                raise OptionError(f"X[{arrays.index(not arrays[0])}] differs from X[0]: give arrays alone, or none")
            if self.sample_rate is None:
                raise OptionError("X holds arrays: give SondinoEmbedder their sample_rate in hertz")
            return clips, self.sample_rate
        for at, clip in enumerate(clips):
            if isinstance(clip, (str, PathLike)) and os.path.isdir(clip):  # noqa: PTH112 - of a long name it is False
                raise OptionError(f"X[{at}] is a folder, {clip}: name its files, one row each")
        return clips, None

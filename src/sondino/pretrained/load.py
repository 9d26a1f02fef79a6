"""Open a model by its folder, its published name or its file."""

from __future__ import annotations

from pathlib import Path

from sondino.audio.windows import WindowPolicy
from sondino.encoder.head import Head
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.model.model import Model, Resample
from sondino.model.sessions import Engine, Precision


def load(
    source: str | Path = DEFAULT_MODEL,
    threads: int | None = None,
    *,
    window_policy: WindowPolicy = "all",
    head: Head | str | Path | None = None,
    device: str = "cpu",
    engine: Engine = "onnxruntime",
    precision: Precision = "float32",
    resample: Resample = "auto",
) -> Model:
    """Open a model that embeds files, folders and arrays, without torch.

    A published checkpoint is converted once, which needs torch, and kept as a bundle in the user's cache.

    Args:
        source: a bundle, a run's folder, a name that `list_models` lists such as "ssondo/matpac-mobilenetv3",
            "hf:owner/name" of a bundle on the Hugging Face hub, or a published checkpoint's file. Default:
            "sondino-small", which comes with the package.
        threads: processor threads to use; None: all.
        window_policy: "all" keeps short clips and tails; "published" takes full windows only, as the published
            package does.
        head: in place of the model's own: a published head's name ("esc50"), a file of one, or a bundle that has one.
        device: "cpu", or "cuda" with onnxruntime-gpu.
        engine: "onnxruntime", or "openvino" with `pip install 'sondino[openvino]'`.
        precision: "float32"; with OpenVINO also "bfloat16" or "float16". `Model.cosine_to_float32` measures the
            difference.
        resample: "auto" computes the log-mel at the rate of the sound, where that is as good as resampling first;
            "always" resamples, as training does.

    Raises:
        OptionError: there is no such model, or an option is out of range.
        SondinoError: a file of it is damaged, or cannot be fetched.

    Examples:
        >>> model = sondino.load("run/bundle")
        >>> model.embed("recordings").shape  # (files, embedding dimension)
        (8, 96)
    """
    from sondino.pretrained.locate import locate

    model = Model(locate(source), threads, window_policy=window_policy, device=device, engine=engine,
                  precision=precision, resample=resample)  # fmt: skip
    if head is None:
        return model
    from sondino.pretrained.heads import load_head

    return model.with_head(head if isinstance(head, Head) else load_head(head))

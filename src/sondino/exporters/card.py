"""The card of an export, in Markdown: what the file is, how it was checked, and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sondino.model.card import verified_rows
from sondino.text import markdown, markdown_code, markdown_facts

_RUN = {
    "onnx": """import os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime reports to Microsoft
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
{clip}
embedding = session.run(["vector"], {{"{given}": clip}})[0]""",
    "openvino": """import sys
sys.modules["openvino_telemetry"] = None  # else OpenVINO reports to Google Analytics when it is imported
import numpy as np, openvino
settings = {{"INFERENCE_PRECISION_HINT": "f32"}}  # else OpenVINO may choose bfloat16
model = openvino.Core().compile_model("model.xml", "CPU", settings)
{clip}
embedding = model([clip])[0]""",
    "executorch": """import numpy as np, torch
from executorch.runtime import Runtime
forward = Runtime.get().load_program("model.pte").load_method("forward")
{clip}
embedding = forward.execute([torch.from_numpy(clip)])[0].numpy()""",
    "litert": """import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter("model.tflite")
interpreter.allocate_tensors()
{clip}
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], clip)
interpreter.invoke()
embedding = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])""",
}

_COMPUTED = ("onnx", "openvino")
"""Runtimes whose graph computes `unlike` itself."""
_UNLIKE = """means, directions, variances, quantiles = np.split(np.fromfile("unlike.bin", "<f4"), {ends})
away = embedding - means.reshape({classes}, {dim})
along = (away @ directions.reshape({rank}, {dim}).T) ** 2
distances = (along / variances[:-1]).sum(1) + ((away**2).sum(1) - along.sum(1)) / variances[-1]
unlike = np.interp(distances.min(), quantiles, np.linspace(0, 1, {quantiles}))"""


def export_card(bundle: str, facts: Mapping[str, Any], size: int) -> str:
    """The card of an export.

    Args:
        bundle: name of the bundle's folder.
        facts: what export.json holds.
        size: bytes of the model's files.
    """
    rate, samples = facts["sample_rate"], facts["samples"]
    length = f"{samples / rate:g} s, {samples} samples" if samples else f"any length from {facts['minimum']} samples on"
    mono = f"mono audio of {rate} Hz, float32 from -1 to 1"
    takes = (
        f"the log-mel (batch, {facts['front_end']['n_mels']}, frames) of {mono}" if facts["input"] == "logmel" else mono
    )
    labels, unlike = facts["labels"], facts["unlike"]
    short = "pad" if samples and facts["short"] == "native" else facts["short"]
    rows = {
        "architecture": f"{markdown(facts['student'])}, width {facts['width']:g}, {facts['parameters']:,} parameters",
        "input": f"{takes};  {length}; {'one clip' if facts['batch'] == 1 else 'any number of clips'} at once",
        "output": f"`vector`, an embedding of {facts['dim']} dimensions"
        + (f", and `probabilities` of {len(labels)} labels (their order is in export.json)" if labels else "")
        + (", and `unlike`" if unlike and facts["to"] in _COMPUTED else ""),
        "precision": facts["precision"],
        **({"size": f"{size / 1e6:.2f} MB"} if size else {}),
        **({"in float": ", ".join(map(markdown, facts["kept_float"]))} if facts["kept_float"] else {}),
        "clips under a window": {
            "pad": "zero-pad them",
            "repeat": "repeat them",
            "native": "leave them as they are",
        }[short],
        "multiply-adds for 10 s": f"{facts['macs_per_10s'] / 1e6:,.0f} M (front-end not counted)",
        "licence of the weights": markdown(facts["licence"]),
    }
    lines = [
        f"# {markdown(facts['name'])} for {facts['to']}",
        "",
        f"Exported by sondino from the bundle {markdown_code(bundle)}.",
        "",
        markdown_facts(rows),
        "",
        "## Verification",
        markdown_facts(verified_rows(facts["verified"])),
        *[f"\n{markdown(note)}" for note in facts["notes"]],
    ]
    if facts["to"] in _RUN:
        lines += ["", "## Run", "```python", _RUN[facts["to"]].format(clip=_clip(facts), given=facts["input"]), "```"]
        lines += [] if unlike is None else _unlike(facts)
    else:
        lines += ["", "## Run", "Serve this folder with any web server: `python -m http.server`."]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    hashes = [f"- {markdown(name)}: {markdown_code(digest)}" for name, digest in facts["hashes"].items()]
    return "\n".join([*lines, "", f"Made with {versions}.", "", "## Hashes (SHA-256)", *hashes, ""])


def _clip(facts: Mapping[str, Any]) -> str:
    samples = facts["samples"] or round(facts["window"] * facts["sample_rate"])
    if facts["input"] == "logmel":
        frames = facts["frames"] or "frames"
        return f"clip = ...  # (1, {facts['front_end']['n_mels']}, {frames}) float32: sondino.frontend.log_mel"
    return f"clip = np.zeros((1, {samples}), np.float32)  # your audio"


def _unlike(facts: Mapping[str, Any]) -> list[str]:
    """What the score of what is unlike is, and how it is computed where the model does not do so."""
    meaning = (
        "`unlike`, 0 to 1, is the share of windows of held-out clips that are less unlike the training clips than the "
        "clip is: show no label where it is over 0.95 or so."
    )
    lines = ["", "## Unknown sound", meaning]
    if facts["to"] in _COMPUTED:
        return lines
    (classes, rank, quantiles), dim = facts["unlike"].values(), facts["dim"]
    ends = [classes * dim, (classes + rank) * dim, (classes + rank) * dim + rank + 1]
    code = _UNLIKE.format(classes=classes, rank=rank, quantiles=quantiles, dim=dim, ends=ends)
    return [*lines, "It is computed from unlike.bin, float32 with the lowest byte first:", "```python", code, "```"]

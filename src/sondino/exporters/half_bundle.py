"""A bundle in half the size: weights in float16, computed with in float32."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import torch as safetensors

from sondino.errors import RunError
from sondino.exporters.half_precision import halved, without_zeros
from sondino.files import sha256
from sondino.model.bundle import finish_bundle, new_bundle
from sondino.model.onnx_file import metadata_of, verify_onnx, write_graphs
from sondino.model.onnx_graph import front_end_graph, net_graph
from sondino.model.torch_model import TorchModel

LARGEST = 65504.0
"""Of float16."""
TOLERANCE = 5e-3
"""Largest difference between the graphs and the network in float16, relative to the largest value of an embedding: the
graphs' weights, with BatchNorm folded in, are rounded a second time."""


def halve_bundle(bundle: Path, out: Path, clips: list[NDArray[np.float32]]) -> Path:
    """A copy of a student's bundle with weights in float16: the net's, the graphs' and the head's.

    Args:
        bundle: in float32.
        out: folder of the copy; an older bundle there is replaced once the new one is whole.
        clips: waveforms (samples,) at its rate, to compare the graphs with torch on; config.json gets the largest
            difference, relative to the largest value of an embedding.

    Raises:
        RunError: the difference is over `TOLERANCE`.
    """
    source = TorchModel.open(bundle)
    student = source.backbone.eval()
    with torch.no_grad():
        for tensor in student.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.clamp(-LARGEST, LARGEST).half().float())
    with new_bundle(out) as partial:
        tensors = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in student.state_dict().items()
        }
        (partial / "model.safetensors").write_bytes(safetensors.save(tensors))
        front_end, net = front_end_graph(student), halved(net_graph(student))
        without_zeros(front_end)
        write_graphs(front_end, net, metadata_of(student), partial / "model.onnx", partial / "body.onnx")
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        difference = verify_onnx(student, partial / "model.onnx", partial / "body.onnx", clips)
        if not difference <= TOLERANCE:
            raise RunError(f"{bundle} in float16 differs from its network by {difference:.1e} of the largest value")
        config["onnx_difference"] = difference
        config["hashes"] = {file: sha256(partial / file) for file in ("model.onnx", "body.onnx", "model.safetensors")}
        finish_bundle(partial, config, source.as_head(), half=True)
    return out.resolve()

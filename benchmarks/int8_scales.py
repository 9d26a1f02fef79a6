"""What int8 costs each student with the usual scales of weights and with ours, here and in exact arithmetic.

    python benchmarks/int8_scales.py BUNDLE... --calibrate AUDIO

Each bundle is quantised twice on AUDIO: with scales at which a channel's largest weight is 127, and with those of
`unsaturated_scales`. Windows of AUDIO that were not used for it are embedded by ONNX Runtime as this processor
computes, and with its optimizations switched off, where each layer computes on the same integers in float: that is
exact, as on a processor with VNNI (tests/exporters/test_int8_layers.py compares it with integers). The times are of
10 s of noise on one thread, in turn. Writes results/int8_scales.csv; rows of students that are not given, and of
processors with another kind of VNNI, are kept from an earlier call.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from provenance import RESULTS, provenance, write_results
from sondino.exporters import int8_layers
from sondino.exporters.quantize import int8_graphs, split_clips
from sondino.frontend.logmel_numpy import log_mel
from sondino.metrics.agreement import cosines
from sondino.metrics.collapse import norm_ok
from sondino.model.onnx_graph import finished, front_end_graph, joined, net_graph
from sondino.model.torch_model import TorchModel
from sondino.nets.size import parameters
from sondino.runtimes import onnx_session

CALLS = 21


def usual_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The value of one step of each channel's weights, of which the largest becomes 127."""
    return np.maximum(np.abs(weights).reshape(len(weights), -1).max(axis=1) / 127, 1e-30).astype(np.float32)


SCALES = {"usual": usual_scales, "unsaturated": int8_layers.unsaturated_scales}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True)
    given = parser.parse_args()
    for bundle in given.bundles:
        rows, file = measured(TorchModel.open(bundle), given.calibrate), RESULTS / "int8_scales.csv"
        kept: list[dict[str, Any]] = []
        if file.exists():
            with file.open(newline="") as lines:
                same = rows[0]["student"], rows[0]["vnni"]
                kept = [row for row in csv.DictReader(lines) if (row["student"], row["vnni"]) != same]
        write_results("int8_scales", [*kept, *rows])


def measured(source: TorchModel, calibrate: Path) -> list[dict[str, Any]]:
    """A row for each kind of scales."""
    parts = split_clips(source, round(source.window * source.sample_rate), calibrate)
    logmels = np.stack([log_mel(source.backbone.logmel, clip) for clip in parts.verification])
    net = net_graph(source.backbone)
    float_file = finished(joined(front_end_graph(source.backbone), net), {})
    expected = embeddings(onnx_session(net.SerializeToString()), logmels)
    usual = norm_ok(expected)
    files = {"float": float_file}
    rows: list[dict[str, Any]] = []
    for name, scales in SCALES.items():
        with patch.object(int8_layers, "unsaturated_scales", scales):
            front_end, small, found = int8_graphs(source, parts, None, None, lambda done, total: None)
        files[name] = finished(joined(front_end, small), {})
        made = small.SerializeToString()
        here, exact = (
            cosines(embeddings(session, logmels[usual]), expected[usual])
            for session in (onnx_session(made), unoptimized(made))
        )
        rows.append(
            {
                "student": source.backbone.name,
                "width": source.backbone.width,
                "parameters": parameters(source.backbone),
                "scales": name,
                "layers": found.layers,
                "kept_in_float": len(found.kept),
                "weights_alone": found.stored,
                "clips": int(usual.sum()),
                "norm_outliers": int((~usual).sum()),
                "cosine_here": f"{here.mean():.5f}",
                "lowest_here": f"{here.min():.5f}",
                "cosine_exact": f"{exact.mean():.5f}",
                "lowest_exact": f"{exact.min():.5f}",
                "f32_mb": f"{len(float_file) / 1e6:.2f}",
                "int8_mb": f"{len(files[name]) / 1e6:.2f}",
            }
        )
    times = milliseconds({name: onnx_session(file, 1) for name, file in files.items()}, 10 * source.sample_rate)
    for row in rows:
        row |= {"f32_ms": f"{times['float']:.2f}", "int8_ms": f"{times[row['scales']]:.2f}", "vnni": vnni()}
        row |= provenance("torch", "onnxruntime", "onnx")
    return rows


def unoptimized(model: bytes) -> onnxruntime.InferenceSession:
    """A session that computes each node as it stands: integers are widened to float before every layer."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def embeddings(session: onnxruntime.InferenceSession, logmels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings (clips, dim) of log-mels (clips, n_mels, frames)."""
    return np.concatenate([session.run(["vector"], {"logmel": logmel[None]})[0] for logmel in logmels])


def milliseconds(sessions: dict[str, onnxruntime.InferenceSession], samples: int) -> dict[str, float]:
    """The median time of a call of each, in turn."""
    noise = (0.1 * np.random.default_rng(0).standard_normal((1, samples))).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(CALLS + 2):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(["vector"], {"waveform": noise})
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(each[2:]) for name, each in times.items()}  # the first two warm up


def vnni() -> str:
    """Which such instructions Linux lists for this processor."""
    flags: Sequence[str] = Path("/proc/cpuinfo").read_text().split()
    return " ".join(sorted({flag for flag in flags if "vnni" in flag})) or "none"


if __name__ == "__main__":
    main()

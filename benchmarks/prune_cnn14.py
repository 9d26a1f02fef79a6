"""CNN14, its quaternion form, and that form pruned: parameters, multiply-adds and time, and the published figures.

    python benchmarks/prune_cnn14.py [--threads 2] [--rounds 5]

Sizes and times need no trained weights. The networks process 10 s of noise as a log-mel, one clip at a time, in PyTorch
and in ONNX Runtime, all in turn. "late" prunes blocks 4 to 6, as published (C7 to C12 there); "all" every block. Writes
results/prune_cnn14.csv.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch

from provenance import provenance, write_results
from sondino.frontend.logmel import n_frames
from sondino.model.onnx_graph import net_graph
from sondino.nets.fold import folded
from sondino.nets.registry import build_student
from sondino.nets.size import macs, parameters
from sondino.nets.student import Student
from sondino.pruning.filters import prune_student
from sondino.runtimes import onnx_session

PATTERNS = {"late": "conv_block[456].*", "all": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    real, quaternion = build_student("cnn14").eval(), build_student("qcnn14").eval()
    nets: dict[str, Student] = {"CNN14": real, "QCNN14": quaternion}
    seconds = {}
    for where, pattern in PATTERNS.items():
        for ratio in (0.25, 0.5, 0.75):
            began = time.perf_counter()
            name = f"QCNN14, {ratio:.0%} of the filters less ({where})"
            nets[name] = prune_student(quaternion, "operator-norm", ratio, layers=pattern).student.eval()
            seconds[name] = time.perf_counter() - began
    samples = 10 * real.logmel.sample_rate
    logmel = torch.randn(1, real.logmel.n_mels, n_frames(real.logmel, samples))
    calls: dict[tuple[str, str], Any] = {}
    for name, net in nets.items():
        light = folded(net)
        calls[name, "torch"] = lambda light=light: light(logmel)
        session = onnx_session(net_graph(net).SerializeToString(), given.threads)
        feed = {session.get_inputs()[0].name: logmel.numpy()}
        calls[name, "onnxruntime"] = lambda session=session, feed=feed: session.run(None, feed)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    with torch.inference_mode():
        for turn in range(given.rounds + 1):
            for key, call in calls.items():
                began = time.perf_counter()
                call()
                if turn:
                    times[key].append(1000 * (time.perf_counter() - began))
    rows = []
    whole = {"parameters": parameters(real), "macs": macs(real)}
    for name, net in nets.items():
        row: dict[str, Any] = {"net": name, "parameters": parameters(net), "macs_per_10s": macs(net)}
        row["parameters_share"] = round(row["parameters"] / whole["parameters"], 3)
        row["macs_share"] = round(row["macs_per_10s"] / whole["macs"], 3)
        for runtime in ("torch", "onnxruntime"):
            found = times[name, runtime]
            row[f"{runtime}_ms"] = round(float(np.median(found)), 1)
            row[f"{runtime}_spread_ms"] = round(float(np.ptp(found)), 1)
            row[f"{runtime}_share"] = round(float(np.median(found) / np.median(times["CNN14", runtime])), 3)
        row["pruning_seconds"] = round(seconds[name], 1) if name in seconds else ""
        rows.append(row | {"threads": given.threads, **provenance("torch", "onnxruntime", "torch-pruning")})
    write_results("prune_cnn14", rows)


if __name__ == "__main__":
    main()

"""Speed of a training step against plain PyTorch: fp32, contiguous, PyTorch's own convolutions.

    python benchmarks/training_step.py [--student mobilenetv3] [--width 1.0] [--clip 2] [--batch-size 48]

The variants take turns in one run, so that a busy machine slows all of them. Writes results/training_step.csv.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from provenance import provenance, write_results
from sondino.distillation.losses import cosine
from sondino.distillation.mapping import MappingHead
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.depthwise import DepthwiseConv
from sondino.nets.registry import build_student
from sondino.training.accelerator import computes_in_bfloat16

TEACHER_DIM = 1024


def plain(net: nn.Module) -> None:
    """Give a net PyTorch's own depthwise convolutions, in place."""
    for name, child in net.named_children():
        if isinstance(child, DepthwiseConv):
            channels, _, kernel, _ = child.weight.shape
            conv = nn.Conv2d(channels, channels, kernel, child.stride[0], kernel // 2, groups=channels, bias=False)
            conv.weight = child.weight
            setattr(net, name, conv)
        else:
            plain(child)


def step_of(variant: str, name: str, width: float, waveforms: torch.Tensor, device: str) -> Callable[[], None]:
    torch.manual_seed(0)
    student = build_student(name, width)
    if variant == "plain float32":
        plain(student)
    else:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head, frontend = MappingHead(student.dim, TEACHER_DIM).to(device), FFTLogMel(student.logmel).to(device)
    student = student.to(device).train()
    optimizer = torch.optim.Adam([*student.parameters(), *head.parameters()], lr=1e-4, fused=variant != "plain float32")
    targets = torch.randn(len(waveforms), TEACHER_DIM, device=device)

    def step() -> None:
        logmel = frontend(waveforms)
        with torch.autocast(device, torch.bfloat16, enabled=variant == "ours bfloat16"):
            projected = head(student(logmel))
        optimizer.zero_grad()
        cosine(projected.float(), targets).mean().backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="mobilenetv3")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--clip", type=float, default=2.0)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    rows = []
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        waveforms = torch.randn(given.batch_size, round(given.clip * 32000), device=device) * 0.1
        variants = [
            "plain float32",
            "ours float32",
            *(["ours bfloat16"] if computes_in_bfloat16(device == "cpu") else []),
        ]
        steps = {v: step_of(v, given.student, given.width, waveforms, device) for v in variants}
        times: dict[str, list[float]] = {v: [] for v in variants}
        for step in steps.values():
            step()
        for _ in range(given.repeats):
            for variant, step in steps.items():
                began = time.perf_counter()
                step()
                times[variant].append(time.perf_counter() - began)
        base = statistics.median(times["plain float32"])
        for variant, taken in times.items():
            median = statistics.median(taken)
            rows.append(
                {
                    "device": device,
                    "student": given.student,
                    "width": given.width,
                    "clip_seconds": given.clip,
                    "batch_size": given.batch_size,
                    "variant": variant,
                    "step_ms": round(1e3 * median, 1),
                    "fastest_ms": round(1e3 * min(taken), 1),
                    "slowest_ms": round(1e3 * max(taken), 1),
                    "clips_per_second": round(given.batch_size / median, 1),
                    "times_faster": round(base / median, 2),
                    "threads": torch.get_num_threads(),
                    **provenance("torch", "numpy"),
                }
            )
    write_results("training_step", rows)


if __name__ == "__main__":
    main()

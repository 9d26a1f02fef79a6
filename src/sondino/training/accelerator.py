"""The device and number format that training computes in."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list

from sondino.errors import OptionError


def make_accelerator(device: str, precision: str, run: Path) -> Accelerator:
    """The device, precision and trackers of a run; the same for one process and for `accelerate launch`."""
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("device cuda: torch sees no CUDA device here; use --device cpu or auto")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if precision == "auto":
        precision = "bfloat16" if computes_in_bfloat16(on_cpu) else "float32"
    if PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run of this Python may have had others
    return Accelerator(
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        cpu=on_cpu,
        log_with="tensorboard",
        project_dir=run,
        # Other processes wait while the first builds the corpus: far longer than the default of minutes.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))],
    )


def computes_in(accelerator: Accelerator) -> str:
    """The precision that an accelerator trains in, as a recipe names it."""
    return "bfloat16" if accelerator.mixed_precision == "bf16" else "float32"


def computes_in_bfloat16(on_cpu: bool) -> bool:
    """Whether bfloat16 is native there; where it is emulated it is slower than float32."""
    if not on_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def broadcast_from_main(value: Any) -> Any:
    """The main process's value, in all processes."""
    box = [value]
    broadcast_object_list(box)
    return box[0]

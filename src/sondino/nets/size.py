"""The size of a torch module: parameters and multiply-accumulates."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sondino.errors import OptionError, require


def element_count(shape: Iterable[int]) -> int:
    """How many elements an array of a shape has."""
    return math.prod(int(n) for n in shape)


def flop_counter() -> Any:
    """Torch's counter of floating-point operations, two a multiply-accumulate, that also counts attention on a CPU."""
    torch = require("torch", "train")

    def attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
        return 2 * element_count(query[:-1]) * key[-2] * (query[-1] + value[-1])

    mapping = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    return require("torch.utils.flop_counter", "train").FlopCounterMode(display=False, custom_mapping=mapping)


SECONDS = 10.0  # of audio that costs are reported for, as in the papers


def parameters(module: Any) -> int:
    """Trainable and frozen parameters of a torch module, shared ones counted once; buffers are not parameters."""
    return sum(int(p.numel()) for p in module.parameters())


def macs(module: Any, seconds: float = SECONDS, example: Any = None) -> int:
    """Multiply-accumulates of one forward pass over `seconds` of audio (batch 1), as the papers count them.

    Counts matrix products, convolutions and attention (torch's flop counter, halved); not activations, norms or
    pooling. A student is fed its log-mel, so its front-end is not counted; give `example` to count anything else.

    Args:
        module: a torch module; a student (with a `logmel` attribute) or any that takes `example`.
        seconds: of audio.
        example: the input tensor; None makes a log-mel (1, n_mels, frames) from the module's own `logmel`.

    Raises:
        OptionError: no example for a module that has no `logmel`.
    """
    torch = require("torch", "train")
    counter = flop_counter()
    if example is None:
        spec = getattr(module, "logmel", None)
        if spec is None:
            raise OptionError("counting MACs needs a student (with a logmel) or an example input tensor")
        from sondino.frontend.logmel import n_frames

        example = torch.zeros(1, spec.n_mels, n_frames(spec, round(seconds * spec.sample_rate)))
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), counter:
            module(example)
    finally:
        module.train(was_training)
    return int(counter.get_total_flops()) // 2

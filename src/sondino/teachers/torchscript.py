"""Teachers in TorchScript files: a program and its weights, no pickle, no Python code of theirs."""

import warnings

from sondino.errors import EncoderError, require
from sondino.files import sha256
from sondino.teachers.common import title, write_module
from sondino.teachers.module import FunctionEncoder, torch_function
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.takes_sound import check_takes_sound
from sondino.teachers.torchscript_tail import torchscript_head
from sondino.text import first_line


def load_torchscript(spec: TeacherSpec, device: str = "auto") -> FunctionEncoder:
    """Open a TorchScript file from (batch, samples) to (batch, dim).

    The rate and window are those of the name, else the module's own `sample_rate` and `window` where it has them.

    Raises:
        OptionError: no such file or output, or no rate.
        EncoderError: no TorchScript file, or not one waveform in and one embedding out.
    """
    torch = require("torch", "train")
    path = spec.path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # files outlive the advice to write new ones otherwise
            model = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise EncoderError(f"{path} is no TorchScript file: {first_line(error)}") from error
    rate = getattr(model, "sample_rate", None)
    window = getattr(model, "window", None)
    try:
        encoder = FunctionEncoder(
            torch_function(model, device, spec.tensor, spec),
            spec,
            f"{sha256(path)}#{spec.tensor}",
            rate=rate if isinstance(rate, int) else None,
            window=float(window) if isinstance(window, int | float) else None,
        )
    except EncoderError as error:
        raise EncoderError(write_module(str(error))) from error
    length = max(round((encoder.window or 1.0) * encoder.sample_rate), encoder.minimum)
    check_takes_sound(encoder.embed, length, None if encoder.window else 2 * length, str(path))
    encoder.name = title(spec)
    encoder.find_head = lambda: torchscript_head(model.eval(), spec.tensor, encoder.name)
    return encoder

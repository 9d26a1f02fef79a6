"""The command that converts a published checkpoint into a bundle: convert."""

import shlex
from pathlib import Path
from typing import Literal

from sondino.cli.early import loading
from sondino.console import print_line


def convert(
    file: Path,
    *,
    out: Path,
    kind: Literal["ssondo", "efficientat", "panns", "matpac", "m2d"] | None = None,
    name: str | None = None,
    window: float | None = None,
    short: Literal["pad", "native", "repeat"] | None = None,
) -> int:
    """Make a bundle of a published checkpoint. Needs `pip install 'sondino[train]'`; the bundle then needs no PyTorch.

    Takes S-SONDO's students (.ckpt), EfficientAT's AudioSet releases (mn10_as, dymn10_as, ...; .pt), PANNs'
    CNN14 (.pth), MATPAC and M2D. No code of the file is run.

    Example: `sondino convert matpac_mobilenetv3.ckpt --out matpac-mobilenetv3`

    Args:
        file: the checkpoint.
        out: the bundle's folder; one made of the same file is replaced.
        kind: whose checkpoint it is. Default: found from its content.
        name: what the model is called. Default: the file's name.
        window: seconds of the model's window. Default: as published, 10.
        short: clips under a window are zero-padded, processed without padding or repeated. Default: as published.
    """
    from sondino.files import read_json
    from sondino.nets.checkpoint_file import first_bytes

    if not (file / "config.json").exists():  # a bundle has its own message
        first_bytes(file)
    with loading():
        from sondino.nets.size import parameters
        from sondino.pretrained.convert import check_free, read_published, write_converted
    from sondino.progress import show, stages

    check_free(out, file)
    with stages(2):
        with show("reading the checkpoint"):
            found = read_published(file, kind=kind, name=name, window=window, short=short)
        student, head, source = found.backbone, found.as_head(), found.facts["source"]
        print_line(
            f"{file.name}: {source['kind']}, {student.name} of width {student.width:g}, "
            f"{parameters(student) / 1e6:.2f} M parameters; {student.dim} dimensions for each {found.window:g} s at "
            f"{student.logmel.sample_rate} Hz" + (f"; {len(head.labels)} classes of {head.name}" if head else "")
        )
        for part in source["dropped"]:
            print_line(f"left out: {part}")
        with show("making and checking its ONNX graph"):
            write_converted(found, out)
    difference = read_json(out / "config.json")["onnx_difference"]
    print_line(
        f"in {out}; its embeddings are PyTorch's to {difference:.1e} of the largest value; licence: {source['licence']}"
    )
    print_line(f"use: sondino embed recordings/ --model {shlex.quote(str(out))} --output embeddings.npz")
    return 0

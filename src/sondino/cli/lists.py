"""The commands that list: check, and what can be named."""

from pathlib import Path

from sondino.cli.app import app, list_skipped, show_table
from sondino.console import print_line


@app.command
def check(encoder: str) -> int:
    """List every fault of an encoder: a bundle, or anything that can be named as a teacher.

    Example: `sondino check module:my_package.models:make_teacher`

    Args:
        encoder: a bundle's folder or a teacher's name.
    """
    from sondino.encoder.check import check_encoder
    from sondino.pretrained.open import open_teacher

    checked = open_teacher(encoder)
    faults = check_encoder(checked)
    for fault in faults:
        print_line(f"- {fault}")
    window = f"{checked.window} s" if checked.window else "any length"
    print_line(
        f"{checked.name}: {checked.dim} dimensions from {window} at {checked.sample_rate} Hz, {len(faults)} faults"
    )
    return 1 if faults else 0


@app.command
def teachers() -> int:
    """List the kinds of teachers, with size, rate, dimension and licence.

    Example: `sondino teachers`
    """
    from sondino.teachers import list_teachers

    return show_table([record.row() for record in list_teachers()])


@app.command
def students() -> int:
    """List the student architectures.

    Example: `sondino students`
    """
    from sondino.nets.registry import list_students

    return show_table([record.row() for record in list_students()])


@app.command
def models(folder: Path = Path()) -> int:
    """List the models that `--model` takes: the one that comes with the package, published ones, bundles in a folder.

    A published model is fetched and made a bundle on its first use, which needs torch; then it is "here".

    Example: `sondino models runs/`

    Args:
        folder: looked through with its subfolders.
    """
    from sondino.hub.catalogue import list_models
    from sondino.model.bundle import find_bundles
    from sondino.pretrained.locate import is_kept

    show_table([{**model.row(), "here": "yes" if is_kept(model.name) else ""} for model in list_models()])
    print_line()
    rows, damaged = find_bundles(folder)
    if rows:
        show_table(rows)
    elif not damaged:
        print_line(f"no bundles under {folder.resolve()}: `sondino distill` and `sondino quickstart` make them")
    return list_skipped(damaged)

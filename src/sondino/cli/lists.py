"""The commands that list: check, and what can be named."""

from dataclasses import asdict
from pathlib import Path

from sondino.cli.app import list_skipped, show_json, show_table
from sondino.console import print_line
from sondino.text import escape


def check(encoder: str, *, json: bool = False) -> int:
    """List every fault of an encoder: a bundle, or anything that can be named as a teacher.

    Example: `sondino check module:my_package.models:make_teacher`

    Args:
        encoder: a bundle's folder or a teacher's name.
        json: print one JSON document in place of text.
    """
    from sondino.encoder.check import check_encoder
    from sondino.pretrained.open import open_teacher

    checked = open_teacher(encoder)
    faults = check_encoder(checked)
    if json:
        facts = {"name": escape(checked.name), "dim": checked.dim, "sample_rate": checked.sample_rate}
        show_json({**facts, "window": checked.window, "faults": [str(fault) for fault in faults]})
        return 1 if faults else 0
    for fault in faults:
        print_line(f"- {fault}")
    window = f"{checked.window} s" if checked.window else "any length"
    print_line(
        f"{checked.name}: {checked.dim} dimensions from {window} at {checked.sample_rate} Hz, {len(faults)} faults"
    )
    return 1 if faults else 0


def teachers(*, json: bool = False) -> int:
    """List the kinds of teachers, with size, rate, dimension and licence.

    Example: `sondino teachers`

    Args:
        json: print one JSON document in place of a table.
    """
    from sondino.teachers import list_teachers

    if json:
        records = [asdict(record) for record in list_teachers()]
        return show_json({"teachers": [{name: facts[name] for name in facts if name != "module"} for facts in records]})
    return show_table([record.row() for record in list_teachers()])


def students(*, json: bool = False) -> int:
    """List the student architectures.

    Example: `sondino students`

    Args:
        json: print one JSON document in place of a table.
    """
    from sondino.nets.registry import list_students

    if json:
        return show_json({"students": [asdict(record) for record in list_students()]})
    return show_table([record.row() for record in list_students()])


def models(folder: Path = Path(), *, json: bool = False) -> int:
    """List the models that `--model` takes: the one that comes with the package, published ones, bundles in a folder.

    A published model is fetched and made a bundle on its first use, which needs torch; then it is "here".

    Example: `sondino models runs/`

    Args:
        folder: looked through with its subfolders.
        json: print one JSON document in place of tables.
    """
    from sondino.hub.catalogue import list_models
    from sondino.model.bundle import find_bundles
    from sondino.pretrained.locate import is_kept

    found, damaged = find_bundles(folder)
    if json:
        published = [{**model.facts(), "here": is_kept(model.name)} for model in list_models()]
        unread = [{"folder": escape(path), "reason": reason} for path, reason in damaged]
        show_json({"models": published, "bundles": [bundle.facts() for bundle in found], "damaged": unread})
        return 1 if damaged else 0
    show_table([{**model.row(), "here": "yes" if is_kept(model.name) else ""} for model in list_models()])
    print_line()
    if found:
        show_table([bundle.row() for bundle in found])
    elif not damaged:
        print_line(f"no bundles under {folder.resolve()}: `sondino distill` and `sondino quickstart` make them")
    return list_skipped(damaged)

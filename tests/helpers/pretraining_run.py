"""The folder of a pretraining run with made-up measurements, for the tests of its page and of what is printed of it."""

import json
import math
from pathlib import Path
from typing import Any

from sondino.pretraining.recipe import as_dict, resolve_recipe

UPDATES = (50, 100, 150, 200)


def row(update: int, **changed: Any) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    done = update / UPDATES[-1]
    return {
        "update": update, "loss": 4.0 - 1.5 * done, "prediction_loss": 1.8 - done,
        "classification_loss": 6.2 - 2 * done, "gradient_norm": 2.0 - done,
        "deviation": 0.9 - 0.2 * done, "deviation_in_clip": 0.5 - 0.1 * done,
        "perplexity": 180.0 + 40 * done, "sharpness": 30.0 + 10 * done, "classes": 60.0,
        "wins_0": 0.5, "wins_1": 0.2, "wins_2": 0.1, "wins_3": 0.15, "wins_4": 0.05,
        "learning_rate": 1e-3 * 0.5 * (1 + math.cos(math.pi * done)), "encoder_decay": 0.5 + 0.4 * done,
        "head_decay": 0.9 + 0.1 * done, "teacher_temperature": 0.07, "hypothesis_temperature": 0.1 * 0.001**done,
        "seconds": 25.0, "data_wait": 0.02, **changed,
    }  # fmt: skip


def write_pretraining_run(
    folder: Path, *, finished: bool = True, last: dict[str, Any] | None = None, **recipe: Any
) -> Path:
    """Write a run's files.

    Args:
        folder: is made.
        finished: whether it has its summary, and all of its updates.
        last: what is otherwise in the last line of metrics.
        recipe: entries other than the defaults.
    """
    import yaml

    folder.mkdir(parents=True)
    planned = resolve_recipe({"updates": UPDATES[-1], **recipe})
    updates = UPDATES if finished else UPDATES[:3]
    rows = [row(update) for update in updates[:-1]] + [row(updates[-1], **(last or {}))]
    absent = ["wins_"] * (planned.method == "matpac")
    absent += ["perplexity", "sharpness", "classes"] * (planned.class_weight == 0)
    rows = [{key: value for key, value in one.items() if not key.startswith(tuple(absent))} for one in rows]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(as_dict(planned)), encoding="utf-8")
    (folder / "skipped.csv").write_text("path,reason\nbad.wav,it is <empty>\ntwin.wav,duplicate of a.wav\n")
    if finished:
        summary = {
            "kind": "pretraining", "method": planned.method, "size": planned.size, "updates": UPDATES[-1],
            "parameters": 1_539_648, "trained_parameters": 2_050_432, "recordings": 1234, "hours": 5.678,
            "corpus": "36af", "crop": 6.095, "normalisation": [-10.2985, 4.9914], "training_seconds": 100.0,
            "last": rows[-1], "collapsed": "", "skipped": 2, "unreadable": 1, "versions": {"torch": "2.13"},
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder

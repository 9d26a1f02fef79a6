"""What a user can get wrong when filters are left out of a model, and when models are compared."""

import json
from pathlib import Path

from helpers.bad_inputs import TINY, Place, mistake

P = "Leaving filters out"


def whole(p: Place) -> Path:
    """A narrow CNN14 with weights and the facts of a bundle, and no graph: nothing here gets to run it."""
    from sondino.model.config import BUNDLE_FORMAT
    from sondino.nets.registry import build_student
    from sondino.nets.saved import write_weights

    folder = p.folder / "whole"
    student = build_student("cnn14", 0.125)
    write_weights(folder, student)
    config = json.loads((folder / "config.json").read_text())
    reported = {
        "format": BUNDLE_FORMAT,
        "name": "whole",
        "window": 1.0,
        "short": "repeat",
        "minimum": student.minimum_samples,
    }
    reported |= {"sample_rate": 32000, "dim": student.dim, "parameters": 0, "macs_per_10s": 0}
    (folder / "config.json").write_text(json.dumps(config | reported))
    return folder


def pruned(p: Place, *options: object, bundle: object = None, score: str = "l1", ratio: str = "0.5") -> None:
    given = bundle or whole(p)
    p.command("prune", given, "--score", score, "--ratio", ratio, "--out", p.folder / "out", *options)


def without_weights(p: Place) -> Path:
    folder = whole(p)
    (folder / "model.safetensors").unlink()
    return folder


def one_label(p: Place) -> Path:
    p.wav("sounds/dog/a.wav")
    return p.wav("sounds/dog/b.wav").parents[1]


mistake(P, "a share of filters over 1", "torch_pruning")(lambda p: pruned(p, ratio="1.5"))
mistake(P, "a share of filters that is no number", "torch_pruning")(lambda p: pruned(p, ratio="half"))
mistake(P, "a share that would empty a layer", "torch_pruning")(lambda p: pruned(p, ratio="0.99"))
mistake(P, "a pattern that no layer matches", "torch_pruning")(lambda p: pruned(p, "--layers", "block9.*"))
mistake(P, "a layer that gives the embedding", "torch_pruning")(lambda p: pruned(p, "--layers", "fc1"))
mistake(P, "a bundle without weights", "torch_pruning")(lambda p: pruned(p, bundle=without_weights(p)))
mistake(P, "a bundle of no student", "torch_pruning")(lambda p: pruned(p, bundle=p.bundle("mine")))
mistake(P, "taylor without sound", "torch_pruning")(lambda p: pruned(p, score="taylor"))
mistake(P, "epochs without sound", "torch_pruning")(lambda p: pruned(p, "--epochs", "3"))
mistake(P, "sound that is not there", "torch_pruning")(
    lambda p: pruned(p, "--epochs", "3", "--corpus", p.folder / "lost")
)
mistake(P, "sound with labels and without", "torch_pruning")(
    lambda p: pruned(p, "--epochs", "3", "--corpus", p.folder, "--labels", p.folder)
)
mistake(P, "labels that are all the same", "torch_pruning")(
    lambda p: pruned(p, "--epochs", "3", "--labels", one_label(p))
)
mistake(P, "steps with nothing between them", "torch_pruning")(lambda p: pruned(p, "--steps", "3"))
mistake(P, "an output that holds another bundle", "torch_pruning")(
    lambda p: p.command("prune", whole(p), "--score", "l1", "--ratio", "0.5", "--out", p.bundle("mine"))
)
mistake(P, "a learning rate under 0", "torch_pruning")(
    lambda p: pruned(p, "--epochs", "3", "--corpus", p.folder, "--lr", "-1")
)
mistake(P, "the bundle's own folder", "torch_pruning")(
    lambda p: p.command("prune", whole(p), "--score", "l1", "--ratio", "0.5", "--out", p.folder / "whole")
)
mistake(P, "another student for a bundle's weights", "torch", "accelerate")(
    lambda p: p.command(
        "distill", p.wav("sounds/a.wav").parent, "--teacher", "precomputed:x.npz", "--init", whole(p),
        "--student", "mobilenetv3", "--out", p.folder / "run",
    )
)  # fmt: skip

C = "Comparing models"

mistake(C, "a folder that is no bundle")(lambda p: p.command("compare", p.file("in/letter.txt", "dear").parent))
mistake(C, "a task that is none")(lambda p: p.command("compare", TINY, "--tasks", "esc11"))

"""Train the model that comes with the package, and evaluate it beside its teacher.

    python benchmarks/sondino_small.py SOUNDS --teacher efficientat/mn04_as --out RUN --tasks a/labels.csv b/labels.csv

SOUNDS is a folder of unlabelled audio; sound_packages.py fills such a folder from Debian packages, soundfont_sound.py
with random phrases of instruments, synthetic_sound.py with computed sounds. Training runs recipes/sondino-small.yaml
and then, from its bundle, recipes/sondino-small-2.yaml; it resumes if interrupted. With --init the second part alone is
run, from that bundle. The bundle, with weights in float16, replaces src/sondino/shipped/sondino-small, and
docs/sondino-small.md goes into its card. With --head the model in the package keeps its embeddings, and its head alone
is fitted again, to SOUNDS with three views of each clip.
Tasks are lists, each in a folder of the task's name; their scores are written to results/sondino_small.csv.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance, write_results
from sondino import distill, evaluate, load
from sondino.audio.reading import read
from sondino.corpus.table import build_corpus
from sondino.corpus.targets import compute_targets
from sondino.corpus.views import add_views
from sondino.corpus.waveforms import open_waveforms
from sondino.distillation.label_head import clips_to_fit, find_labels, fit_head
from sondino.encoder.head import Head
from sondino.evaluation.evaluate import Evaluated
from sondino.exporters.half_bundle import halve_bundle
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.model.bundle import finish_bundle, new_bundle
from sondino.model.config import read_config
from sondino.pretrained.open import open_teacher
from sondino.sample_sounds import sample_folder
from sondino.training.batches import spread

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "src" / "sondino" / "shipped" / DEFAULT_MODEL
REPOSITORY = "https://github.com/sondino/sondino"
CLIPS, VIEWS = 24, 3
DRAWS = 1_966_080  # of the second part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", help="bundle or name to go on from; default: the first part is run")
    parser.add_argument("--tasks", nargs="*", default=[])
    parser.add_argument("--against", nargs="*", default=[], help="other models to evaluate")
    parser.add_argument("--head", action="store_true", help="fit the head alone again")
    given = parser.parse_args()
    if given.head:
        fit_head_again(given.sounds, given.teacher, given.out)
        return

    first, second = (ROOT / "recipes" / f"{DEFAULT_MODEL}{part}.yaml" for part in ("", "-2"))
    how = {"teacher": given.teacher}
    init = given.init or str(distill(given.sounds, recipe=first, out=given.out / "first", **how))
    bundle = distill(given.sounds, recipe=second, init=init, out=given.out / DEFAULT_MODEL, **how)
    clips = [read(file, 32000)[:62400] for file in sorted(sample_folder().glob("**/*.ogg"))[:CLIPS]]
    halve_bundle(bundle, SHIPPED, clips)
    state_licence()
    add_page()
    print(json.loads((SHIPPED / "config.json").read_text())["onnx_difference"], "between torch and ONNX")
    if given.tasks:
        found = evaluate(
            [str(SHIPPED), *given.against], given.out / "evaluation", teacher=given.teacher, tasks=given.tasks
        )
        names = [Path(task).parent.name for task in given.tasks]
        write_results("sondino_small", score_rows(found, names, "numpy", "torch", "onnxruntime", "scikit-learn"))


def score_rows(found: Evaluated, tasks: Sequence[str], *packages: str) -> list[dict[str, Any]]:
    """A row for each score of an evaluation, with names of ours for its tasks, in their order."""
    names = dict(zip([task["name"] for task in found.results["tasks"]], tasks, strict=True))
    roles = {facts["name"]: facts["role"] for facts in found.results["models"]}
    return [
        {
            "task": names[score["task"]],
            "model": score["model"],
            "role": roles[score["model"]],
            **{name: round(score[name], 5) for name in ("value", "chance", "knn")},
            "low": round(score["interval95"][0], 5),
            "high": round(score["interval95"][1], 5),
            "clips": score["clips"],
            **provenance(*packages),
        }
        for score in found.results["scores"]
    ]


def fit_head_again(sounds: Path, teacher: str, out: Path) -> None:
    """Fit the head of the model in the package again, to a teacher's probabilities of a folder of sound."""
    model = load(SHIPPED)
    assert model.window is not None
    encoder = open_teacher(teacher, "cpu")
    labels = find_labels({teacher: encoder}, "auto", None)
    assert labels is not None
    corpus = add_views(build_corpus(sounds, out / "corpus", model.window), VIEWS)
    waveforms = {rate: open_waveforms(corpus, rate) for rate in (encoder.sample_rate, model.sample_rate)}
    targets = compute_targets(corpus, encoder, teacher, waveforms=waveforms[encoder.sample_rate])
    ours = waveforms[model.sample_rate]
    rows = spread(np.flatnonzero(targets.valid & ours.valid), clips_to_fit(len(labels.head.labels), DRAWS))
    pieces = np.array_split(rows, max(1, len(rows) // 64))
    embeddings = [model.embed([(ours.read(int(row)), model.sample_rate) for row in piece]) for piece in pieces]
    replace_head(fit_head(np.concatenate(embeddings), targets.matrix[rows], labels))


def replace_head(head: Head) -> None:
    """Put another head into the package's model, in float16; its other weights stay bit for bit.

    The scores of the head that it had, on held-out clips of the training sound, are taken out.
    """
    config = read_config(SHIPPED / "config.json")
    config["scores"] = {name: score for name, score in config["scores"].items() if not name.startswith("label_")}
    with new_bundle(SHIPPED) as partial:
        for file in config["hashes"]:
            shutil.copyfile(SHIPPED / file, partial / file)
        finish_bundle(partial, config, head, half=True)
    add_page()


def state_licence() -> None:
    """Put the licence of the weights into the bundle: the package's own."""
    config = SHIPPED / "config.json"
    facts = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(facts | {"licence": "MIT"}, indent=2) + "\n", encoding="utf-8")


def add_page() -> None:
    """Put the documentation's page about the model, from its first section on, at the end of the model's card.

    Links to files of the repository, which an installation does not have, lead to where it is published.
    """
    page = (ROOT / "docs" / f"{DEFAULT_MODEL}.md").read_text(encoding="utf-8")
    page = page.replace("](../", f"]({REPOSITORY}/blob/main/")
    card = SHIPPED / "card.md"
    written = card.read_text(encoding="utf-8").partition("\n<!-- docs -->\n")[0]
    sections = page[page.index("\n## ") :]
    card.write_text(f"{written}\n<!-- docs -->\n{sections}", encoding="utf-8")


if __name__ == "__main__":
    main()

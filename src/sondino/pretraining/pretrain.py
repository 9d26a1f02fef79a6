"""Pretrain an encoder: from a folder of audio to a teacher."""

# ruff: noqa: E402 - a missing extra is reported before anything imports it
from sondino.errors import require_extra

require_extra("train")

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sondino.corpus.table import Corpus, build_corpus, open_corpus
from sondino.errors import AudioError, OptionError, RunError
from sondino.files import whole_name, write_skipped
from sondino.pretraining.crops import Crops, Grid, check_length, crop_grid
from sondino.pretraining.logmels import STRETCH, LogMels, open_logmels
from sondino.pretraining.model import Pretrainer, initialise, sizes_of
from sondino.pretraining.recipe import PretrainRecipe, as_dict, given_statistics, resolve_recipe
from sondino.pretraining.result import RunData, finish_run, load_initial
from sondino.pretraining.train import train
from sondino.progress import show, stages
from sondino.training.accelerator import broadcast_from_main, computes_in, make_accelerator
from sondino.training.entries import write_yaml
from sondino.training.run import STARTED_WITH, check_same_config, open_run
from sondino.training.shared import check_shared
from sondino.training.versions import versions

LEAST_DEVIATION = 1e-3
"""Deviation of log-mels under which the sound is silent throughout."""


def pretrain(
    audio: str | Path,
    *,
    out: str | Path,
    recipe: str | Path | Mapping[str, Any] | None = None,
    device: str = "auto",
    quiet: bool = False,
    page: bool = True,
    **options: Any,
) -> Path:
    """Pretrain an encoder on audio alone by masked latent prediction and classification (MATPAC, MATPAC++).

    The run's folder is a teacher for `distill` and a model for `load`. If interrupted, the same call resumes, and ends
    in the same weights.

    Args:
        audio: a folder of audio, a CSV or Parquet list of paths, tar shards, or a corpus already built.
        out: the run's folder; it will hold `bundle/`, `encoder.safetensors`, `report.html`, `metrics.jsonl`,
            `recipe.yaml`, `skipped.csv`.
        recipe: a YAML file or a mapping of `PretrainRecipe` entries.
        device: "auto", "cpu" or "cuda".
        quiet: show no progress.
        page: write report.html at the end.
        options: `PretrainRecipe` entries by name (method, size, updates, ...), which override the recipe's.

    Returns:
        The folder of the bundle; open it with `sondino.load`.

    Raises:
        OptionError: an unknown name, a value out of range, or `audio` does not exist.
        AudioError: no recording is as long as a crop, or all are silent.
        RunError: `out` was started with other options, is in use, or the disk is full; finished work is kept.
        SondinoError: the loss became NaN.

    Examples:
        >>> options = {"updates": 2, "batch_size": 2, "crop": 0.5, "quiet": True}
        >>> bundle = sondino.pretrain("recordings", out="my_encoder", **options)
        >>> sondino.load(bundle).dim
        960
    """
    plan = resolve_recipe(recipe, **options)
    grid = crop_grid(plan.crop, plan.mask_ratio)
    run = Path(out)
    accelerator = make_accelerator(device, plan.precision, run)
    if plan.batch_size * plan.accumulate * accelerator.num_processes == 1:
        raise OptionError("batch_size is 1: give 2 or more, or --accumulate; one crop shows no classes")
    if plan.batch_size * (grid.patches - grid.visible) == 1:
        raise OptionError("batch_size 1 and one masked patch show no deviation: give a larger --batch-size")
    model = new_model(plan, grid)  # a wrong checkpoint is found before the run's folder is made
    check_shared(run, audio, accelerator)
    is_main = accelerator.is_main_process
    with open_run(run, is_main):
        if is_main:
            check_same_config(run, {"audio": whole_name(audio), "recipe": as_dict(plan)})
        if not (run / "summary.json").exists():
            with stages(4 - (Path(audio) / "corpus.json").exists()):
                _run(run, plan, audio, model, grid, accelerator, quiet)
    if page and is_main:
        from sondino.reporting.pretraining_page import report_pretraining

        report_pretraining(run)
    return run / "bundle"


def new_model(recipe: PretrainRecipe, grid: Grid) -> Pretrainer:
    """The nets before training, by the recipe's seed, or with the encoder of a checkpoint."""
    torch.manual_seed(recipe.seed)
    hypotheses = recipe.hypotheses if recipe.method == "matpac++" else 1
    sizes = sizes_of(recipe.size, grid.columns, hypotheses, recipe.class_weight > 0)
    model = Pretrainer(sizes, recipe.centre)
    initialise(model, recipe.teacher_init)
    if recipe.init:
        load_initial(model, Path(recipe.init))
    return model


def _run(
    run: Path,
    recipe: PretrainRecipe,
    audio: str | Path,
    model: Pretrainer,
    grid: Grid,
    accelerator: Accelerator,
    quiet: bool,
) -> None:
    is_main = accelerator.is_main_process
    quiet = quiet or not is_main
    new_corpus = not (run / "corpus").exists()
    try:
        crops = _crops(run, recipe, audio, grid, accelerator, quiet)
    except AudioError:
        if is_main:
            _forget(run, new_corpus)
        raise
    logmels, normalisation = crops.logmels, crops.normalisation
    corpus = logmels.corpus
    skipped: list[tuple[str, str]] = []
    if is_main:
        check_same_config(run, {"corpus": corpus.hash})
        resolved = as_dict(recipe) | {
            "precision": computes_in(accelerator),
            "normalize": f"{normalisation[0]:.6g},{normalisation[1]:.6g}",
        }
        write_yaml(resolved, run / "recipe.yaml")
        skipped = write_skipped(run / "skipped.csv", [*corpus.skipped, *logmels.skipped])
    with show("pretraining", "updates", quiet) as progress:
        model = train(model, crops, grid, recipe, run, accelerator, progress)
    if is_main:
        with show("writing the encoder", quiet=quiet):
            finish_run(RunData(run, recipe, crops, grid, skipped, versions(accelerator.device)), model)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _crops(
    run: Path, recipe: PretrainRecipe, audio: str | Path, grid: Grid, accelerator: Accelerator, quiet: bool
) -> Crops:
    """What crops are drawn from; AudioError where the sound is too short, or silent, or none can be decoded."""
    folder = None
    if accelerator.is_main_process:
        folder = _corpus(audio, run, grid, quiet).folder
    corpus = open_corpus(broadcast_from_main(folder))
    check_length(corpus, grid.frames)  # before hours of log-mels
    with accelerator.main_process_first(), show("log-mels", "stretches", quiet) as progress:
        logmels = open_logmels(corpus, progress)
    return Crops(logmels, grid.frames, _normalisation(recipe, logmels), recipe.seed)


def _forget(run: Path, new_corpus: bool) -> None:
    """Remove what a run was started with, where it has trained nothing: other options or sound may follow."""
    if (run / "checkpoints").exists():
        return
    (run / STARTED_WITH).unlink(missing_ok=True)
    if new_corpus:
        shutil.rmtree(run / "corpus", ignore_errors=True)


def _corpus(audio: str | Path, run: Path, grid: Grid, quiet: bool) -> Corpus:
    """The corpus of a run: built in its folder, or opened if `audio` is one."""
    if (Path(audio) / "corpus.json").exists():
        corpus = open_corpus(Path(audio))
        if corpus.views:
            raise RunError(f"{audio} holds augmented views: give the audio, or a corpus that was not distilled from")
        return corpus
    with show("headers", "files", quiet) as progress:
        return build_corpus(audio, run / "corpus", max(STRETCH, 2 * grid.seconds), progress=progress)


def _normalisation(recipe: PretrainRecipe, logmels: LogMels) -> tuple[float, float]:
    """Mean and deviation that log-mels are normalised with; AudioError where all is broken or silent."""
    if logmels.skipped and not logmels.frames.any():
        name, reason = logmels.skipped[0]
        raise AudioError(f"no recording can be decoded; the first, {name}: {reason}")
    if not logmels.std >= LEAST_DEVIATION:
        raise AudioError(
            f"all recordings are silent: their log-mels have a deviation of {logmels.std:.2g}; give sound to learn from"
        )
    if recipe.normalize == "measured":
        return logmels.mean, logmels.std
    return given_statistics(recipe.normalize)

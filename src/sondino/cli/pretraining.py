"""The command that makes a teacher: pretrain."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sondino.cli.app import Device
from sondino.cli.early import loading
from sondino.cli.recipes import recipe_options
from sondino.pretraining.recipe import PretrainRecipe
from sondino.processors import launched

PretrainOptions = recipe_options(PretrainRecipe, signed=("normalize",))


def pretrain(
    audio: str,
    *,
    entries: Annotated[PretrainOptions, Parameter(name="*")] = None,  # type: ignore[valid-type]
    out: Path,
    recipe: Path | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Pretrain an encoder on audio alone, without a teacher (MATPAC, MATPAC++): a teacher for `distill`.

    If interrupted, the same command resumes. Several processes: `accelerate launch -m sondino pretrain ...` on GPUs,
    `torchrun --nproc-per-node 2 -m sondino pretrain ...` on processors.

    Example: `sondino pretrain my_sounds --out my_encoder --size tiny --updates 10000`

    Args:
        audio: a folder of audio, a CSV or Parquet list of paths, tar shards, or a corpus made by `sondino corpus`.
        out: the run's folder; `distill --teacher` and every command that takes a model take it.
        recipe: a YAML file of these options (see recipes/); options given here win over it.
        device: where it is trained.
        quiet: show no progress.
    """
    from sondino.files import check_training_sound
    from sondino.pretraining.recipe import resolve_recipe

    given = vars(entries) if entries else {}
    resolve_recipe(recipe, **given)
    if launched() == 1:  # of several processes, all look later, together
        check_training_sound(audio, out)
    with loading(quiet):
        from sondino.pretraining.pretrain import pretrain as run_pretrain
        from sondino.pretraining.result import print_summary

    from accelerate import PartialState  # isort: skip

    run_pretrain(audio, out=out, recipe=recipe, device=device, quiet=quiet, **given)
    return print_summary(out) if PartialState().is_main_process else 0

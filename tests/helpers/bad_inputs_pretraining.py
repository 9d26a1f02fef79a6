"""What a user can get wrong in pretraining: more rows of bad_inputs.py."""

from typing import Any

import numpy as np
import soundfile

import sondino
from helpers.bad_inputs import Place, mistake

P = "Pretraining"
NEEDS = ("torch", "accelerate", "yaml")


def pretrained(p: Place, **options: Any) -> None:
    """Pretrain on two seconds of noise, or on other audio, with some options."""
    file = p.folder / "sounds" / "noise.wav"
    file.parent.mkdir(exist_ok=True)
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32), 16_000)
    given = {"audio": file.parent, "updates": 2, "batch_size": 2, "crop": 1.0, "device": "cpu", "quiet": True}
    sondino.pretrain(**given | options, out=p.folder / "run")


mistake(P, "no such folder", *NEEDS)(lambda p: pretrained(p, audio=p.folder / "gone"))
mistake(P, "a size that is none", *NEEDS)(lambda p: pretrained(p, size="large"))
mistake(P, "a crop shorter than a patch", *NEEDS)(lambda p: pretrained(p, crop=0.1))
mistake(P, "a ratio that leaves no patch visible", *NEEDS)(lambda p: pretrained(p, mask_ratio=0.99))
mistake(P, "a ratio that leaves no patch masked", *NEEDS)(lambda p: pretrained(p, mask_ratio=1e-17))
mistake(P, "a batch of one", *NEEDS)(lambda p: pretrained(p, batch_size=1))
mistake(P, "a deviation of 0", *NEEDS)(lambda p: pretrained(p, normalize="-7,0"))
mistake(P, "an entry that a recipe does not have", *NEEDS)(
    lambda p: pretrained(p, recipe=p.file("r.yaml", "epochs: 3\n"))
)
mistake(P, "no weights where a checkpoint should be", *NEEDS)(lambda p: pretrained(p, init=str(p.folder / "gone.pt")))
mistake(P, "no recording as long as a crop", *NEEDS)(lambda p: pretrained(p, crop=3.0))
mistake(P, "silence alone", *NEEDS)(lambda p: pretrained(p, audio=p.wav("silence/a.wav", 32_000, 0.0).parent))

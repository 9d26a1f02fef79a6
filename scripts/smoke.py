"""Tries an installed wheel: the command, the embeddings of a model whose answers are known, the page, the sounds.

    python scripts/smoke.py tests/data

Run it in an environment that holds the wheel and nothing else of the project. The tiny bundle gives mean, mean square
and peak of each second of sound.
"""

import subprocess
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import soundfile

import sondino


def main(data: Path) -> None:
    """Exit with a message where something is wrong."""
    root = Path(str(resources.files(sondino)))
    if Path(__file__).parents[1].resolve() in root.resolve().parents and "site-packages" not in root.parts:
        sys.exit(f"{root} is the repository, not the wheel: install the wheel first")
    command = [sys.executable, "-m", "sondino"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if not shown == sondino.__version__ == metadata.version("sondino"):
        sys.exit(f"versions differ: {shown}, {sondino.__version__}, {metadata.version('sondino')}")
    if not all((root / "page" / name).is_file() for name in ("index.html", "label.html")):
        sys.exit("the wheel does not hold both pages, of `demo` and of `label`: run `make web` before the build")
    if not (root / "py.typed").is_file():
        sys.exit("the wheel does not say that it is typed")
    if not list(root.glob("*/sonic_pi/*.*")):
        sys.exit("the wheel does not hold the sample sounds")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)
        (folder / "in").mkdir()
        soundfile.write(folder / "in" / "noise.wav", sound, 16000, subtype="FLOAT")
        model, output = data / "tiny_bundle", folder / "embeddings.npz"
        subprocess.run([*command, "embed", folder / "in", "--model", model, "--output", output, "--quiet"], check=True)
        with np.load(output) as table:
            found = table["vectors"][0]
        expected = [sound.mean(), (sound.astype(np.float64) ** 2).mean(), np.abs(sound).max()]
        if not np.allclose(found, expected, atol=1e-5):
            sys.exit(f"the tiny bundle gives {found}, and not {expected}")
        clips = sondino.load(model).embed(data / "clips")
        if not np.isfinite(clips).all():
            sys.exit("the clips do not give finite embeddings")
    print(f"sondino {shown} works: {len(clips)} clips embedded")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

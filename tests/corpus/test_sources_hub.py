"""Data sets on the Hugging Face hub, from a server on this machine; in processes of their own, as the endpoint is."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.corpora import noise, write
from helpers.hub_datasets import serve_dataset
from sondino.corpus.table import build_corpus, open_corpus

pytest.importorskip("huggingface_hub", reason="the hub extra is not installed")

RUN = """
import sys
import numpy as np
from helpers.corpora import Moments
from sondino.corpus.table import build_corpus
from sondino.corpus.targets import compute_targets
url, out = sys.argv[1:]
np.save(out + ".npy", compute_targets(build_corpus(url, out), Moments()).matrix)
"""


def run(url: str, out: Path, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", RUN, url, str(out)], env=env, capture_output=True, text=True)


def test_files_tars_and_parquet_of_a_data_set(tmp_path: Path) -> None:
    sounds = [write(tmp_path / "sounds" / f"{n}.wav", noise(1.0, n)) for n in range(5)]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for sound in sounds[:2]:
            tar.add(sound, sound.name)
    cells = [{"bytes": sound.read_bytes(), "path": sound.name} for sound in sounds[2:4]]
    table = io.BytesIO()
    pq.write_table(pa.table({"id": ["2", "3"], "audio": cells}), table)
    files = {"data/0.tar": packed.getvalue(), "data/1.parquet": table.getvalue(), "README.md": b"# Sounds",
             "data/x/4.wav": sounds[4].read_bytes()}  # fmt: skip
    with serve_dataset("owner/name", files) as (endpoint, sent):
        done = run("hf://datasets/owner/name/data", tmp_path / "all", endpoint, tmp_path / "hub")
        assert done.returncode == 0, done.stderr
        assert {path for path, _ in sent} == files.keys() - {"README.md"}
        sent.clear()
        assert run("hf://datasets/owner/name/data/0.tar", tmp_path / "tar", endpoint, tmp_path / "hub").returncode == 0
        assert {path for path, _ in sent} == {"data/0.tar"}
        missing = run("hf://datasets/owner/none", tmp_path / "none", endpoint, tmp_path / "hub").stderr
        assert "hf://datasets/owner/none: there is no such bucket, folder or file" in missing
    found = open_corpus(tmp_path / "all")
    assert found.ids() == ["x/4.wav", "0.tar/0.wav", "0.tar/1.wav", "2", "3"]
    assert open_corpus(tmp_path / "tar").ids() == ["0.tar/0.wav", "0.tar/1.wav"]
    assert found.root == "hf://datasets/owner/name/data"
    from helpers.corpora import Moments
    from sondino.corpus.targets import compute_targets

    plain = np.array(compute_targets(build_corpus(tmp_path / "sounds", tmp_path / "here"), Moments()).matrix)
    np.testing.assert_array_equal(np.load(tmp_path / "all.npy"), plain[[4, 0, 1, 2, 3]])

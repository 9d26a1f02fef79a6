"""Sounds of a store, of Parquet and of HDF5 are embedded as files of the same bytes are."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from helpers.stores import s3_server
from helpers.tiny_bundle import TINY_RATE
from sondino.embedding.files import embed_files
from sondino.embedding.inputs import is_one_sound, list_inputs
from sondino.embedding.parts import embed_parts
from sondino.errors import AudioError
from sondino.model.model import Model

LENGTHS = (3000, 16000, 40000, 9000)


@pytest.fixture
def sounds(tmp_path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for seed, samples in enumerate(LENGTHS):
        waveform = np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)
        soundfile.write(folder / f"{seed}.wav", waveform, TINY_RATE, subtype="FLOAT")
    return folder


def write_hub(file: Path, sounds: Path) -> Path:
    """A Parquet file with the bytes of the sounds in it."""
    files = sorted(sounds.iterdir())
    audio = [{"bytes": one.read_bytes(), "path": one.name} for one in files]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": [one.name for one in files], "audio": audio}), file, row_group_size=3)
    return file


def rows(table: Path) -> dict[str, list[float]]:
    read = pq.read_table(table)
    return dict(zip(read["id"].to_pylist(), read["vector"].to_pylist(), strict=True))


@pytest.fixture
def expected(sounds, tiny_bundle, tmp_path):
    embed_files(sounds, Model(tiny_bundle), tmp_path / "expected.parquet")
    return rows(tmp_path / "expected.parquet")


def test_parquet_by_itself_and_in_a_folder_with_other_sounds(sounds, tiny_bundle, expected, tmp_path):
    model, file = Model(tiny_bundle), write_hub(tmp_path / "mixed" / "sub" / "x.parquet", sounds)
    embed_files(file, model, tmp_path / "one.parquet")
    assert rows(tmp_path / "one.parquet") == expected
    (tmp_path / "mixed" / "0.wav").write_bytes((sounds / "0.wav").read_bytes())
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "mixed" / "vectors.parquet")
    embed_files(tmp_path / "mixed", model, tmp_path / "two.parquet")
    assert rows(tmp_path / "two.parquet") == {"0.wav": expected["0.wav"]} | {
        f"sub/{name}": vector for name, vector in expected.items()
    }


def test_a_folder_of_tables_without_sound(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "vectors.parquet")
    with pytest.raises(AudioError, match="no audio found in this folder"):
        list_inputs(tmp_path)


def test_hdf5(sounds, tiny_bundle, tmp_path):
    h5py = pytest.importorskip("h5py", reason="the hdf5 extra is not installed")
    waves = np.stack([np.random.default_rng(seed).uniform(-0.5, 0.5, TINY_RATE) for seed in range(3)])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["audio_name"] = np.array([b"Ya.wav", b"", b"Yc.wav"], "S20")
        file["waveform"] = waves.astype(np.float32)
        file["target"] = np.zeros((3, 5), bool)
        file.attrs["sample_rate"] = TINY_RATE
    report = embed_files(tmp_path / "x.h5", Model(tiny_bundle), tmp_path / "v.parquet")
    assert report.files == 2 and len(report.skipped) == 1
    direct = Model(tiny_bundle).embed([(waves[at].astype(np.float32), TINY_RATE) for at in (0, 2)])
    np.testing.assert_array_equal(list(rows(tmp_path / "v.parquet").values()), direct)


def test_a_store_to_a_table_and_to_parts_of_the_store(sounds, tiny_bundle, expected, tmp_path):
    with s3_server() as server:
        address = server.put_folder(sounds, "recordings")
        server.put("hub/x.parquet", write_hub(tmp_path / "x.parquet", sounds).read_bytes())
        for given in (f"{address}/", "s3://sounds/hub/x.parquet"):
            embed_files(given, Model(tiny_bundle), tmp_path / "v.parquet")
            assert rows(tmp_path / "v.parquet") == expected
        opened = partial(Model, tiny_bundle)
        assert embed_parts(f"{address}/", opened, "s3://sounds/vectors/").files == 4
        server.counter.reset()
        seen = []
        embed_parts(f"{address}/", opened, "s3://sounds/vectors/", progress=lambda *args: seen.append(args[:2]))
        assert seen == [(4, 4)] and server.counter.count("GET", "recordings/") == 0
        # Another object under the same name is another part.
        server.put("recordings/1.wav", (sounds / "2.wav").read_bytes())
        embed_parts(f"{address}/", opened, "s3://sounds/vectors/", progress=lambda *args: seen.append(args[:2]))
        assert seen[1] == (0, 4)
        with pytest.raises(AudioError, match="there is nothing below this address"):
            embed_files("s3://sounds/nothing/", Model(tiny_bundle), tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("address", "one"),
    [("https://x.example/a.wav", True), ("https://x.example/a", True), ("https://x.example/a/", False),
     ("https://x.example/a.tar", False), ("https://x.example/a.parquet", False), ("s3://b/a.wav", False)],
)  # fmt: skip
def test_which_addresses_are_one_sound_to_fetch(address, one):
    assert is_one_sound(address) is one

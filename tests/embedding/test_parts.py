"""Embeddings made in parts: a data set, shares of the parts, and Ray."""

import csv
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from helpers.ray_teachers import open_tiny
from helpers.tiny_bundle import TINY_RATE
from sondino.embedding import files as files_module
from sondino.embedding.files import embed_files
from sondino.embedding.parts import embed_parts
from sondino.embedding.tables import is_data_set
from sondino.errors import OptionError, RunError, SondinoError
from sondino.model.model import Model
from sondino.spread import Cluster

TESTS = Path(__file__).parents[1]
LENGTHS = (3000, 16000, 16001, 40000, 65000, 900, 20000)
"""With two files a part: parts of 2, 2, 2 and 1."""


@pytest.fixture
def sounds(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(files_module, "PART_FILES", 2)
    folder = tmp_path / "sounds"
    folder.mkdir()
    for seed, samples in enumerate(LENGTHS):
        waveform = np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)
        soundfile.write(folder / f"{seed}.wav", waveform, TINY_RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def opened(tiny_bundle):
    return partial(Model, tiny_bundle)


def table_of(folder: Path) -> pa.Table:
    """The rows of a data set, as its manifest has them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    tables = [pq.read_table(folder / part["file"]) for part in manifest["parts"]]
    assert [len(table) for table in tables] == [part["rows"] for part in manifest["parts"]]
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def plain(sounds, opened, folder: Path, **how) -> pa.Table:
    embed_files(sounds, opened(), folder / "plain.parquet", **how)
    return pq.read_table(folder / "plain.parquet").replace_schema_metadata(None)


@pytest.mark.parametrize("per_window", [False, True])
def test_a_data_set_has_the_rows_of_a_table(sounds, opened, tmp_path, per_window):
    (sounds / "4.wav").write_bytes(b"RIFF")
    report = embed_parts(sounds, opened, f"{tmp_path}/vectors/", per_window)
    folder = tmp_path / "vectors"
    expected = plain(sounds, opened, tmp_path, per_window=per_window)
    assert table_of(folder).equals(expected)
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {name: manifest[name] for name in ("format", "dim", "rows", "files", "skipped", "per_window")}
    assert kept == {"format": "sondino-parts-1", "dim": 3, "rows": len(expected), "files": 6, "skipped": 1,
                    "per_window": per_window}  # fmt: skip
    assert report.files == 6 and report.embeddings == len(expected)
    assert [path.rsplit("/", 1)[-1] for path, _ in report.skipped] == ["4.wav"]
    with (folder / "skipped.csv").open() as lines:
        assert [row["path"] for row in csv.DictReader(lines)] == [str(sounds / "4.wav")]


def test_shares_in_any_order_and_then_the_rest(sounds, opened, tmp_path):
    output, folder = f"{tmp_path}/vectors/", tmp_path / "vectors"
    report = embed_parts(sounds, opened, output, share=(3, 3))
    assert report.files == 3 and not (folder / "manifest.json").exists()
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("part-*")}
    seen = []
    report = embed_parts(sounds, opened, output, progress=lambda *args: seen.append(args[:2]))
    assert seen[0] == (3, 7) and seen[-1] == (7, 7) and report.resumed == 3 and report.files == 7
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    assert table_of(folder).equals(plain(sounds, opened, tmp_path))


def test_shares_of_a_table(sounds, opened, tmp_path):
    output = tmp_path / "vectors.parquet"
    for share in ((2, 2), (1, 2)):
        embed_parts(sounds, opened, str(output), share=share)
        assert not output.exists()
    report = embed_parts(sounds, opened, str(output))
    assert (report.files, report.resumed) == (7, 7) and not (tmp_path / "vectors.parquet.partial").exists()
    assert pq.read_table(output).replace_schema_metadata(None).equals(plain(sounds, opened, tmp_path))


def test_new_and_changed_files_are_new_parts(sounds, opened, tmp_path):
    output, folder = f"{tmp_path}/vectors/", tmp_path / "vectors"
    embed_parts(sounds, opened, output)
    first = {file.name for file in folder.glob("part-*")}
    soundfile.write(sounds / "5.wav", np.full(9000, 0.25, np.float32), TINY_RATE, subtype="FLOAT")
    soundfile.write(sounds / "7.wav", np.full(9000, 0.5, np.float32), TINY_RATE, subtype="FLOAT")
    report = embed_parts(sounds, opened, output)
    second = {file.name for file in folder.glob("part-*")}
    assert report.resumed == 4 and len(first & second) == 2 and len(second) == 4  # the older two are removed
    assert table_of(folder).equals(plain(sounds, opened, tmp_path))


def test_skipped_csv_is_of_this_run_and_names_what_is_no_file(sounds, opened, tmp_path):
    folder = tmp_path / "vectors"
    broken = sounds / "broken.wav"
    broken.write_bytes(b"junk")
    link = sounds / "link.wav"
    link.symlink_to(tmp_path / "gone.wav")
    report = embed_parts(sounds, opened, f"{folder}/")
    rows = list(csv.DictReader((folder / "skipped.csv").open()))
    assert len(rows) == len(report.skipped) == json.loads((folder / "manifest.json").read_text())["skipped"] == 2
    broken.unlink()
    link.unlink()
    assert embed_parts(sounds, opened, f"{folder}/").skipped == []
    assert not (folder / "skipped.csv").exists()


def test_pyarrow_reads_the_folder_as_one_table(sounds, opened, tmp_path):
    report = embed_parts(sounds, opened, f"{tmp_path}/vectors/")
    read = pytest.importorskip("pyarrow.dataset").dataset(f"{tmp_path}/vectors/", exclude_invalid_files=True)
    assert read.to_table().num_rows == report.files


@pytest.mark.parametrize("name", ["part-000009.parquet", "part-other.parquet", "table.Parquet"])
def test_a_table_of_something_else_in_the_folder_is_named(sounds, opened, tmp_path, name):
    folder = tmp_path / "vectors"
    folder.mkdir()
    pq.write_table(pa.table({"x": [1]}), folder / name)
    for output in (f"{folder}/", str(folder)):
        with pytest.raises(RunError, match=rf"{folder}/{name} is no part of this data set.*move it away"):
            embed_parts(sounds, opened, output)
    assert [file.name for file in folder.iterdir()] == [name]
    (folder / name).rename(folder / f"._{name}")
    assert embed_parts(sounds, opened, f"{folder}/").files == 7 == embed_parts(sounds, opened, str(folder)).files


def test_other_options_are_refused(sounds, opened, tmp_path):
    output = f"{tmp_path}/vectors/"
    embed_parts(sounds, opened, output)
    with pytest.raises(RunError, match="vectors/ holds embeddings of another model or other options: give another"):
        embed_parts(sounds, opened, output, per_window=True)
    (tmp_path / "vectors" / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"manifest.json is damaged: remove it"):
        embed_parts(sounds, opened, output)


def test_other_inputs_are_refused_and_lose_nothing(sounds, opened, tmp_path):
    output = f"{tmp_path}/vectors/"
    embed_parts(sounds, opened, output)
    before = sorted(file.name for file in (tmp_path / "vectors").glob("part-*"))
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "a.wav", np.full(9000, 0.25, np.float32), TINY_RATE)
    with pytest.raises(RunError, match=r"holds embeddings of other inputs \(.*sounds\): give the same"):
        embed_parts(other, opened, output)
    assert sorted(file.name for file in (tmp_path / "vectors").glob("part-*")) == before


@pytest.mark.parametrize("name", ["vectors/", "vectors.parquet"])
def test_a_share_made_before_says_what_it_holds(sounds, opened, tmp_path, name):
    (sounds / "1.wav").write_bytes(b"RIFF")
    first, again = (embed_parts(sounds, opened, f"{tmp_path}/{name}", share=(1, 2)) for _ in range(2))
    assert (first.files, first.resumed, again.files, again.resumed) == (3, 0, 3, 4)
    assert first.skipped == again.skipped and len(again.skipped) == 1


def test_a_damaged_part_is_named(sounds, opened, tmp_path):
    output, folder = f"{tmp_path}/vectors/", tmp_path / "vectors"
    embed_parts(sounds, opened, output)
    part = next(folder.glob("part-000001-*"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunError, match=f"{part.name} is damaged .* remove it"):
        embed_parts(sounds, opened, output)


def test_nothing_that_can_be_decoded(tmp_path, opened):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(
        SondinoError, match=r"none of the files could be decoded, and .*vectors/ has no manifest; .*a.wav"
    ):
        embed_parts(tmp_path / "sounds", opened, f"{tmp_path}/vectors/")
    assert not (tmp_path / "vectors" / "manifest.json").exists()


def test_which_outputs_are_data_sets(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "x.lance").mkdir()
    found = {name: is_data_set(name) for name in ("v/", "s3://b/v", str(tmp_path / "there"), str(tmp_path / "x.lance"),
                                                  "v.parquet", "v")}  # fmt: skip
    assert list(found.values()) == [True, True, True, False, False, False]


def test_a_store_holds_what_a_folder_would(sounds, opened, tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="the train extra is not installed")
    store = fsspec.filesystem("memory")
    output = f"memory://{tmp_path.name}/vectors"
    report = embed_parts(sounds, opened, output, share=(1, 2))
    assert report.files == 4
    seen = []
    embed_parts(sounds, opened, output, progress=lambda *args: seen.append(args[:2]))
    assert seen[0] == (4, 7)
    embed_parts(sounds, opened, f"{tmp_path}/vectors/")
    names = sorted(file.name for file in (tmp_path / "vectors").iterdir() if not file.name.startswith("."))
    assert sorted(name.rsplit("/", 1)[-1] for name in store.ls(f"/{tmp_path.name}/vectors", detail=False)) == names
    for name in names:
        assert store.cat_file(f"/{tmp_path.name}/vectors/{name}") == (tmp_path / "vectors" / name).read_bytes()


@pytest.fixture(scope="module")
def ray():
    """Ray on two processors, started once; the workers find the helpers of these tests."""
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield ray
        ray.shutdown()


@pytest.mark.full
class TestRay:
    def test_the_plain_table_bit_for_bit(self, ray, sounds, opened, tmp_path):
        (sounds / "4.wav").write_bytes(b"RIFF")
        expected = plain(sounds, opened, tmp_path, per_window=True)
        report = embed_parts(sounds, opened, f"{tmp_path}/vectors/", per_window=True, cluster=Cluster())
        assert table_of(tmp_path / "vectors").equals(expected)
        assert report.files == 6 and "4.wav" in report.skipped[0][0]
        embed_parts(sounds, opened, str(tmp_path / "x.parquet"), per_window=True, cluster=Cluster())
        assert pq.read_table(tmp_path / "x.parquet").replace_schema_metadata(None).equals(expected)

    def test_a_file_that_kills_every_worker_is_left_out_by_name(self, ray, sounds, tmp_path):
        listed = tmp_path / "deadly.npy"
        opened = partial(open_tiny, listed)
        expected = plain(sounds, opened, tmp_path)
        np.save(listed, soundfile.read(sounds / "2.wav", dtype="float32")[0][:1])
        report = embed_parts(sounds, opened, f"{tmp_path}/vectors/", cluster=Cluster())
        assert [(path, "ended the process" in reason) for path, reason in report.skipped] == [
            (str(sounds / "2.wav"), True)
        ]
        assert table_of(tmp_path / "vectors").equals(expected.filter(pa.compute.not_equal(expected["id"], "2.wav")))


def test_a_fetched_address_is_not_sent_to_workers(opened, tmp_path, monkeypatch, sounds):
    from sondino.audio.decoded import FilePart

    part = FilePart("https://x.example/a.wav", str(sounds / "1.wav"), owner=object())
    with pytest.raises(OptionError, match=r"a.wav was fetched to this machine, and workers of Ray do not see it"):
        embed_parts(part, opened, f"{tmp_path}/vectors/", cluster=Cluster())

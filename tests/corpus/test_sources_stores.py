"""Sound in stores: an S3 server and web servers on this machine, which count requests and bytes."""

import builtins
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from helpers.corpora import RATE, Moments, noise, read_clips, write, write_sounds
from helpers.stores import s3_server, web_server
from sondino.cli import main
from sondino.cli.distilling import corpus as corpus_command
from sondino.corpus.sources import Place, list_audio, open_source, stores
from sondino.corpus.sources.stores import Blocks, RangeFile, Remote
from sondino.corpus.table import build_corpus, open_corpus
from sondino.corpus.targets import compute_targets
from sondino.errors import AudioError, MissingExtra, OptionError

SOUNDS = {"a/short.wav": 0.3, "a/whole.wav": 2.0, "b/long.wav": 70.0, "b/short.flac": 1.0, "tone.ogg": 3.0}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"), SOUNDS)


@pytest.fixture(scope="module")
def server():
    with s3_server() as found:
        yield found


@pytest.fixture
def s3(server):
    server.counter.reset()
    return server


def vectors(corpus) -> np.ndarray:
    return np.array(compute_targets(corpus, Moments(), part_rows=3).matrix)


def packed(sounds: Path, names: list[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            tar.add(sounds / name, name)
    return out.getvalue()


def test_audiosets_labels_join_tars_and_parquet_of_a_store(s3, sounds, tmp_path):
    metadata, ids = tmp_path / "metadata", ("abcdefghijk", "-bcdefghijk", "_bcdefghijk")
    metadata.mkdir()
    lines = [f'{name}, 0.000, 10.000, "/m/0bt9lr"\n' for name in ids[:2]]
    (metadata / "eval_segments.csv").write_text("".join(lines))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(sounds / "a/short.wav", f"Y{ids[0]}.wav")
        tar.add(sounds / "tone.ogg", f"Y{ids[2]}.ogg")
    s3.put("labelled/0.tar", out.getvalue())
    cell = {"bytes": (sounds / "a/whole.wav").read_bytes(), "path": None}
    pq.write_table(pa.table({"video_id": [ids[1]], "audio": [cell]}), tmp_path / "1.parquet")
    s3.put("labelled/1.parquet", (tmp_path / "1.parquet").read_bytes())
    assert corpus_command("s3://sounds/labelled", out=tmp_path / "out", audioset=metadata) == 0
    found = open_corpus(tmp_path / "out")
    assert found.ids() == [f"0.tar/Y{ids[0]}.wav", ids[1]] and list(found.column("label")) == ["Dog", "Dog"]
    assert list(found.column("split")) == ["test", "test"]
    assert found.skipped == [(f"0.tar/Y{ids[2]}.ogg", "not in the lists: no segment has its id")]


def test_a_bucket_is_a_folder(s3, sounds, tmp_path):
    url = s3.put_folder(sounds, "set")
    s3.put("set/notes.txt", b"not a sound")
    s3.put("set/x.tar.gz", b"packed")
    s3.put("set/strange.xyz", b"?")
    s3.put("set/.hidden/a.wav", b"?")
    s3.put("set/broken.wav", b"no sound")
    remote, local = build_corpus(url, tmp_path / "remote"), build_corpus(sounds, tmp_path / "local")
    assert remote.ids() == local.ids() and remote.root == "s3://sounds/set"
    reasons = dict(remote.skipped)
    assert set(reasons) == {"x.tar.gz", "strange.xyz", "broken.wav"} and "unpack it" in reasons["x.tar.gz"]
    assert reasons["strange.xyz"] == "its name does not say whether it is audio: give it a suffix such as .wav"
    s3.counter.reset()
    np.testing.assert_array_equal(vectors(open_corpus(tmp_path / "remote")), vectors(local))
    # No byte is asked for twice, though the long recording has eight clips.
    assert s3.counter.bytes == sum((sounds / name).stat().st_size for name in SOUNDS)


def test_a_scan_reads_headers_and_nothing_again(s3, tmp_path):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4_000_000, np.int16), 48_000, format="WAV", subtype="PCM_16")
    content = bytearray(file.getvalue())
    for number in range(4):
        content[5000] = number
        s3.put(f"recordings/{number}.wav", bytes(content))
    s3.counter.reset()
    corpus = build_corpus("s3://sounds/recordings", tmp_path / "out")
    assert len(corpus) == 4 * 9 and corpus.facts["files"] == 4
    assert s3.counter.count("GET", ".wav") == 4 and s3.counter.count("HEAD") == 0
    assert s3.counter.bytes < 4 * 70_000
    s3.counter.reset()
    again = build_corpus("s3://sounds/recordings", tmp_path / "out")
    assert again.hash == corpus.hash and s3.counter.count("GET", ".wav") == 0  # the listing says that it is the same
    content[5000] = 9
    s3.put("recordings/1.wav", bytes(content))
    s3.counter.reset()
    other = build_corpus("s3://sounds/recordings", tmp_path / "other")
    assert other.hash != corpus.hash and s3.counter.count("GET", ".wav") == 4
    s3.put("recordings/2.wav", bytes(content))  # the same bytes, so the same ETag
    found = build_corpus("s3://sounds/recordings", tmp_path / "twice")
    assert found.skipped == [("2.wav", "duplicate of 1.wav")]


def test_a_window_costs_its_blocks(s3, tmp_path):
    file = io.BytesIO()
    soundfile.write(file, noise(60.0, 0, 48_000), 48_000, format="FLAC", subtype="PCM_24")
    content = file.getvalue()
    assert len(content) > 7_000_000
    s3.put("long.flac", content)
    s3.counter.reset()
    with open_source("s3://sounds", Place("long.flac", length=len(content))) as opened:
        from sondino.audio.reading import read

        found = read(opened, 48_000, 30.0, 1.0)
    np.testing.assert_allclose(found, noise(60.0, 0, 48_000)[30 * 48_000 : 31 * 48_000], atol=1e-6)
    assert s3.counter.bytes < 4_300_000 and s3.counter.count("HEAD") == 0


def test_a_tar_is_indexed_by_its_headers_and_read_in_merged_ranges(s3, sounds, tmp_path):
    names = [f"{number:02d}.wav" for number in range(20)]
    folder = write_sounds(tmp_path / "many", dict.fromkeys(names, 5.0))  # 160 kB each
    write(folder / "large.wav", noise(40.0, 30))  # 1.3 MB
    content = packed(folder, [*names, "large.wav"])
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/x.tar").write_bytes(content)
    s3.put("shards/x.tar", content)
    s3.counter.reset()
    listing = list_audio("s3://sounds/shards")
    assert len(listing.entries) == 21
    assert s3.counter.bytes < 50 * 4096 and s3.counter.count("GET", ".tar") <= 50
    remote = build_corpus("s3://sounds/shards", tmp_path / "remote")
    local = build_corpus(tmp_path / "shards", tmp_path / "local")
    assert remote.ids() == local.ids() and list(remote.column("content"))[:20] == list(local.column("content"))[:20]
    s3.counter.reset()
    np.testing.assert_array_equal(np.array(compute_targets(remote, Moments()).matrix), np.array(
        compute_targets(local, Moments()).matrix))  # fmt: skip
    asked = [size for method, _, size in s3.counter.requests if method == "GET"]
    assert len(asked) <= 6 and sum(asked) < 1.05 * len(content)  # 3.2 MB of small members in one, the large in blocks


def test_lists_may_hold_addresses(s3, sounds, tmp_path):
    s3.put_folder(sounds, "set")
    lines = ["path,label", "s3://sounds/set/a/whole.wav,dog;cat", "s3://sounds/set/none.wav,cat"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    s3.counter.reset()
    corpus = build_corpus(tmp_path / "list.csv", tmp_path / "out")
    assert corpus.ids() == ["s3://sounds/set/a/whole.wav"] and list(corpus.column("label")) == ["dog;cat"]
    assert corpus.skipped == [("s3://sounds/set/none.wav", "there is no such file")]
    np.testing.assert_array_equal(read_clips(corpus, [0], RATE)[0], noise(2.0, 1))


def test_one_object_and_a_tar_by_address(s3, sounds, tmp_path):
    s3.put_folder(sounds, "set")
    assert build_corpus("s3://sounds/set/a/whole.wav", tmp_path / "one").ids() == ["whole.wav"]
    s3.put("x.tar", packed(sounds, ["a/whole.wav"]))
    assert build_corpus("s3://sounds/x.tar", tmp_path / "tar").ids() == ["x.tar/a/whole.wav"]


def test_parquet_and_hdf5_are_read_in_the_store(s3, tmp_path):
    h5py = pytest.importorskip("h5py", reason="the hdf5 extra is not installed")
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write_sounds(tmp_path / "sounds", {"0.wav": 0.5, "1.wav": 0.5})
    cells = [{"bytes": (folder / name).read_bytes(), "path": name} for name in ("0.wav", "1.wav")]
    pq.write_table(pa.table({"audio": cells, "id": ["0.wav", "1.wav"]}), tmp_path / "x.parquet")
    with h5py.File(tmp_path / "x.h5", "w") as out:
        out.attrs["sample_rate"] = RATE
        out["audio_name"] = np.array([b"2.wav"], "S20")
        out["waveform"] = np.array([noise(0.5, 2)])
    for name in ("x.parquet", "x.h5"):
        s3.put(f"tables/{name}", (tmp_path / name).read_bytes())
    corpus = build_corpus("s3://sounds/tables", tmp_path / "out")
    assert corpus.ids() == ["0.wav", "1.wav", "2.wav"] and corpus.skipped == []
    for row, clip in enumerate(read_clips(corpus, range(3), RATE)):
        np.testing.assert_array_equal(clip, noise(0.5, row))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-such-bucket/x", "s3://no-such-bucket/x: there is no such bucket"),
        ("s3://sounds/nowhere/", "s3://sounds/nowhere/: there is nothing below this address"),
        ("s3://sounds/nowhere.wav", "there is nothing below this address: check the bucket"),
    ],
)
def test_what_is_not_there_is_one_sentence(s3, url, message, tmp_path, capsys):
    with pytest.raises(AudioError, match=message):
        build_corpus(url, tmp_path / "out")
    with pytest.raises(SystemExit, match="2"):
        main(["corpus", url, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_a_list_in_a_store_is_refused(s3, tmp_path):
    pq.write_table(pa.table({"path": ["x.wav"]}), tmp_path / "list.parquet")
    for url in ("s3://sounds/list.csv", s3.put("lists/list.parquet", (tmp_path / "list.parquet").read_bytes())):
        with pytest.raises(OptionError, match="a list is read from this machine"):
            build_corpus(url, tmp_path / "out")


def test_a_store_that_is_down_or_refuses_is_one_sentence(s3, tmp_path, monkeypatch):
    s3fs = pytest.importorskip("s3fs", reason="the remote extra is not installed")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(AudioError, match=r"s3://sounds/x: the store cannot be reached .*AWS_ENDPOINT_URL"):
        build_corpus("s3://sounds/x", tmp_path / "out")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(AudioError, match=r"the store refuses access .*AWS_ACCESS_KEY_ID"):
        build_corpus("s3://sounds/x", tmp_path / "out")
    s3fs.S3FileSystem.clear_instance_cache()
    refused = stores.store_error("gs://b/x", PermissionError("Forbidden"))
    assert str(refused).startswith("gs://b/x: the store refuses access (Forbidden): set GOOGLE_APPLICATION_CREDENTIALS")


@pytest.mark.parametrize(
    ("url", "package", "message"),
    [
        ("s3://b/x", "s3fs", r"s3fs is not installed: pip install 'sondino\[remote\]'"),
        ("gs://b/x", "gcsfs", "gcsfs is not installed, which reads gs://: pip install gcsfs"),
        ("hf://datasets/a/b", "huggingface_hub", r"huggingface_hub is not installed: pip install 'sondino\[hub\]'"),
        ("https://example.org/x", "aiohttp", r"aiohttp is not installed: pip install 'sondino\[remote\]'"),
    ],
)
def test_a_package_that_is_missing_is_named(url, package, message, tmp_path, monkeypatch):
    found, load = stores.importlib.util.find_spec, builtins.__import__

    def importing(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ImportError(name, name=package)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=message):
        build_corpus(url, tmp_path / "out")
    with pytest.raises(OptionError, match="fsspec knows no store xyz://"):
        build_corpus("xyz://b/x", tmp_path / "out")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_web_server_with_a_page_of_links(ranges, sounds, tmp_path):
    with web_server(sounds, ranges) as (url, counter):
        remote = build_corpus(f"{url}/", tmp_path / "remote")
        local = build_corpus(sounds, tmp_path / "local")
        assert remote.ids() == local.ids() and remote.skipped == [] and remote.root == url
        assert counter.count("HEAD") == len(SOUNDS)  # sizes, which a page of links lacks
        np.testing.assert_array_equal(vectors(remote), vectors(local))
        counter.reset()
        assert build_corpus(f"{url}/", tmp_path / "remote").hash == remote.hash
        assert counter.bytes == 0  # Last-Modified and size say that nothing has changed
        one = build_corpus(f"{url}/a/whole.wav", tmp_path / "one")
        np.testing.assert_array_equal(read_clips(one, [0], RATE)[0], noise(2.0, 1))
        with pytest.raises(AudioError, match="there is no such bucket, folder or file"):
            build_corpus(f"{url}/nowhere", tmp_path / "none")
    with pytest.raises(AudioError, match="the store cannot be reached"):
        build_corpus(f"{url}/", tmp_path / "down")


def test_a_tar_on_a_web_server(tmp_path, sounds):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/x.tar").write_bytes(packed(sounds, ["a/short.wav", "b/long.wav"]))
    for ranges in (True, False):
        with web_server(tmp_path / "web", ranges) as (url, _):
            corpus = build_corpus(f"{url}/x.tar", tmp_path / f"{ranges}", clip=5.0)
            assert corpus.ids()[:2] == ["x.tar/a/short.wav", "x.tar/b/long.wav@0.000"] and corpus.skipped == []
            np.testing.assert_array_equal(read_clips(corpus, [1], RATE)[0], noise(70.0, 2)[: 5 * RATE])


def test_blocks_are_asked_for_once_and_neighbours_together(monkeypatch):
    content, asked = bytes(range(256)) * 1000, []

    def span(remote, start, stop):
        asked.append((start, stop))
        return content[start:stop]

    monkeypatch.setattr(stores, "_span", span)
    blocks = Blocks(Remote("s3://b/x", len(content)), 1000, small=0)
    file = RangeFile(blocks)
    assert file.read(10) == content[:10] and file.read(10) == content[10:20]
    file.seek(1500)
    assert file.read(2000) == content[1500:3500]
    other = RangeFile(blocks)  # of the same object
    assert other.read(3000) == content[:3000]
    file.seek(-5, 2)
    assert file.read() == content[-5:] and file.read() == b""
    assert asked == [(0, 1000), (1000, 4000), (255_000, 256_000)]
    asked.clear()
    small = RangeFile(Blocks(Remote("s3://b/y", 5000), 1000))
    assert small.read(1) == content[:1] and small.read() == content[1:5000] and asked == [(0, 5000)]
    part = RangeFile(Blocks(Remote("s3://b/z", None), 1000, offset=700, length=50))
    assert part.read() == content[700:750]
    monkeypatch.setattr(stores, "_span", lambda *_: b"short")
    with pytest.raises(AudioError, match="no longer as it was listed"):
        RangeFile(Blocks(Remote("s3://b/q", 5000), 1000)).read(1)

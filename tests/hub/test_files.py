"""Models from the Hugging Face hub, on a server of this machine: what goes well, and all that can go wrong."""

import json
import re
import shutil
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.hub_server import Hub, lfs_hash, point_at, serving
from helpers.tiny_bundle import write_tiny_bundle
from sondino import hub as names
from sondino.errors import OptionError, SondinoError
from sondino.hub import catalogue
from sondino.pretrained.heads import fetch_head
from sondino.pretrained.locate import is_kept, locate

CHECKPOINT = np.random.default_rng(0).bytes(300_000)
NAME = "ssondo/m2d-dymn"
REPO, FILE = catalogue.SSONDO, "m2d_dymn.ckpt"
RESUMES = tuple(map(int, version("huggingface_hub").split(".")[:2])) >= (1, 20)
"""Whether huggingface_hub goes on with a file by itself when the connection breaks."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """What huggingface_hub sleeps between its tries, in seconds, without the sleep."""
    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    slept = []
    clock = types.SimpleNamespace(sleep=slept.append, time=lambda: 0.0)
    monkeypatch.setattr(file_download, "time", clock)
    monkeypatch.setattr(_http, "time", clock)
    return slept


@pytest.fixture
def converted(monkeypatch, tmp_path):
    """In place of `sondino.pretrained.convert`: a tiny bundle; the contents that it was made of."""
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    contents = []

    def convert(file, out, *, name=None):
        contents.append(Path(file).read_bytes())
        return write_tiny_bundle(out, name=name)

    module = types.ModuleType("sondino.pretrained.convert")
    module.convert = convert
    monkeypatch.setitem(sys.modules, "sondino.pretrained.convert", module)
    return contents


@pytest.fixture
def hub(monkeypatch, tmp_path, converted):
    with serving() as hub:
        point_at(monkeypatch, hub.url, str(tmp_path / "hf"))
        yield hub


def bundle_files(folder, **config):
    bundle = write_tiny_bundle(folder, **config)
    return {file.name: file.read_bytes() for file in bundle.iterdir()} | {"card.md": b"# tiny", "other.bin": b"x"}


@pytest.fixture
def tiny(hub, tmp_path):
    """A repository with a bundle; its commit."""
    return hub.commit("me/tiny", bundle_files(tmp_path / "source"))


@pytest.fixture
def published(hub):
    """The published repository, at the commit of the catalogue."""
    heads = {file.path: name.encode() * 100 for name, file in names.HEADS.items()}
    return hub.commit(REPO, {FILE: CHECKPOINT} | heads, catalogue.SSONDO_COMMIT)


def go_offline(monkeypatch, hub, tmp_path):
    hub.asked.clear()
    point_at(monkeypatch, hub.url, str(tmp_path / "hf"), offline=True)


def cached_files(tmp_path):
    files = [file for file in (tmp_path / "hf").glob("models--*/**/*") if not file.is_dir()]
    return [file for file in files if "refs" not in file.parts and file.suffix != ".incomplete"]


# ---- bundles of the hub ---------------------------------------------------------------------------------------


def test_a_bundle_is_fetched_once_and_opens(hub, tiny, tmp_path):
    bundle = locate("hf:me/tiny")
    assert bundle == tmp_path / "cache" / "models" / "hub" / "me--tiny" / tiny
    assert sorted(file.name for file in bundle.iterdir()) == ["card.md", "config.json", "model.onnx"]
    assert not any(file.is_symlink() for file in bundle.iterdir())
    assert sondino.load("hf:me/tiny").embed(np.ones((1, 16000), np.float32)).tolist() == [[1, 1, 1]]
    hub.asked.clear()
    assert locate(Path("hf:me/tiny")) == bundle
    assert hub.asked == []


def test_the_first_commit_is_kept_when_main_moves(hub, tiny, tmp_path):
    first = locate("hf:me/tiny")
    second = hub.commit("me/tiny", bundle_files(tmp_path / "source", name="second"))
    hub.branches["me/tiny"]["v1"] = tiny
    assert locate("hf:me/tiny") == first
    assert locate("hf:me/tiny@main").name == second
    assert locate(f"hf:me/tiny@{second}").name == second
    assert locate("hf:me/tiny@v1") == first
    assert locate("hf:me/tiny") == first


def test_a_branch_is_asked_after_and_a_commit_is_not(hub, tiny, tmp_path, monkeypatch):
    at_main = locate("hf:me/tiny@main")
    assert locate(f"hf:me/tiny@{tiny}") == at_main
    hub.asked.clear()
    assert locate(f"hf:me/tiny@{tiny}") == at_main
    assert hub.asked == []
    second = hub.commit("me/tiny", bundle_files(tmp_path / "source", name="second"))
    assert locate("hf:me/tiny@main").name == second
    go_offline(monkeypatch, hub, tmp_path)
    assert locate("hf:me/tiny@main").name == second  # the last that it was known to be
    assert hub.asked == []


def test_the_token_goes_to_the_hub_and_not_to_what_it_points_at(hub, tiny, monkeypatch):
    hub.private.add("me/tiny")
    with pytest.raises(SondinoError, match=r"there is no .*/me/tiny, or you may not see it \(401\).*set HF_TOKEN"):
        locate("hf:me/tiny")
    monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
    hub.asked.clear()
    assert locate("hf:me/tiny").name == tiny
    tokens = {asked.token for asked in hub.asked if asked.path.startswith(("/api/models", "/me"))}
    assert tokens == {Hub.TOKEN}
    assert [asked.token for asked in hub.contents()] == [None]


def test_a_gated_repository(hub, tiny, monkeypatch):
    hub.gated.add("me/tiny")
    with pytest.raises(
        SondinoError, match=r"/me/tiny is shown only to those who were let in: ask for access there, th"
    ):
        locate("hf:me/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(SondinoError, match=r"is shown only to those who were let in"):
        locate("hf:me/tiny")
    monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
    assert locate("hf:me/tiny").name == tiny


def test_what_the_hub_does_not_have(hub, tiny, published, tmp_path):
    with pytest.raises(SondinoError, match=r"there is no .*/me/tniy, or you may not see it \(401\): check the name"):
        locate("hf:me/tniy")
    with pytest.raises(SondinoError, match=r"/me/tiny has no revision v9: name a branch, a tag or a commit of it"):
        locate("hf:me/tiny@v9")
    with pytest.raises(
        SondinoError, match=r"has no m2d_eres2net.ckpt at main: it holds heads/esc50.pth, heads/f.* m2d"
    ):
        locate("ssondo/m2d-eres2net")
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"pytorch_model.bin": b"x"},
            "is no bundle of sondino (format 'sondino-bundle-1'): it holds pytorch_model.bin",
        ),
        (
            {"config.json": b"{}", "a": b"x"},
            "is no bundle of sondino (format 'sondino-bundle-1'): it holds a, config.json",
        ),
        ({"config.json": b"[1]"}, "it holds config.json"),
        ({"config.json": b"{"}, "it holds config.json"),
        ({"config.json": b"\xff"}, "it holds config.json"),
        ({}, "it holds nothing"),
        ({f"{i:02}": b"x" for i in range(20)}, "it holds 00, 01, 02, 03, 04, 05, 06, 07 and 12 more"),
    ],
)
def test_a_repository_that_is_no_bundle(hub, files, message, tmp_path):
    hub.commit("me/net", files)
    with pytest.raises(OptionError) as caught:
        locate("hf:me/net")
    assert message in str(caught.value)
    assert list((tmp_path / "cache" / "models" / "hub").rglob("*")) in ([], [tmp_path / "cache/models/hub/me--net"])


def test_a_bundle_that_lacks_a_file_or_holds_another(hub, tmp_path):
    files = bundle_files(tmp_path / "source")
    hub.commit("me/half", {name: content for name, content in files.items() if name != "model.onnx"})
    with pytest.raises(
        OptionError, match=r"/me/half lacks model.onnx of its bundle: it holds card.md, config.json, oth"
    ):
        locate("hf:me/half")
    hub.commit("me/mixed", files | {"model.onnx": b"of another training"})
    with pytest.raises(
        SondinoError, match=r"model.onnx of .*/me/mixed is not the one that its config.json was written"
    ):
        locate("hf:me/mixed")
    hashes = {"model.onnx": lfs_hash(files["model.onnx"]), "head.safetensors": "0" * 64}
    hub.commit("me/headless", bundle_files(tmp_path / "source", hashes=hashes))
    with pytest.raises(OptionError, match=r"/me/headless lacks head.safetensors of its bundle"):
        locate("hf:me/headless")
    hub.commit("me/outside", bundle_files(tmp_path / "source", hashes=hashes | {"../../x": "0" * 64}))
    with pytest.raises(SondinoError, match="is damaged: a key of hashes does not fit"):
        locate("hf:me/outside")
    assert not list((tmp_path / "cache").rglob("config.json"))


# ---- published checkpoints ------------------------------------------------------------------------------------


def test_a_published_name_is_fetched_and_converted_once(hub, published, converted):
    bundle = locate(NAME)
    assert converted == [CHECKPOINT]
    assert json.loads((bundle / "config.json").read_text())["name"] == NAME
    assert is_kept(NAME)
    hub.asked.clear()
    assert locate(NAME) == bundle
    assert hub.asked == [] and converted == [CHECKPOINT]


def test_the_catalogues_commit_is_taken_whatever_main_is(hub, published, converted):
    newer = hub.commit(REPO, {FILE: b"newer"})
    locate(NAME)
    assert converted == [CHECKPOINT]
    locate(f"{NAME}@main")
    assert converted == [CHECKPOINT, b"newer"]
    locate(f"{NAME}@{newer}")
    locate(NAME)
    assert converted == [CHECKPOINT, b"newer"]


def test_main_is_taken_where_the_catalogues_commit_is_gone(hub, converted, capsys, tmp_path):
    first = hub.commit(REPO, {FILE: CHECKPOINT})
    locate(NAME)
    message = f"{REPO} has no {FILE} at {catalogue.SSONDO_COMMIT[:12]} any more: taking that of {first[:12]}"
    assert message in capsys.readouterr().err
    hub.commit(REPO, {FILE: b"newer"})
    locate(NAME)
    assert converted == [CHECKPOINT]
    for folder in ("cache/models/converted", "hf"):
        shutil.rmtree(tmp_path / folder)
    locate(NAME)
    assert converted == [CHECKPOINT, CHECKPOINT]  # the commit that it was first made of


def test_a_published_file_that_is_not_the_known_one(hub, converted, monkeypatch):
    known = names.HubFile(REPO, FILE, catalogue.SSONDO_COMMIT, "0" * 64)
    model = names.PUBLISHED[NAME]
    monkeypatch.setitem(names.PUBLISHED, NAME, types.SimpleNamespace(name=NAME, file=known, shipped=False))
    commit = hub.commit(REPO, {FILE: CHECKPOINT}, catalogue.SSONDO_COMMIT)
    with pytest.raises(
        SondinoError, match=rf"holds another {FILE} \(sha256 {lfs_hash(CHECKPOINT)}\).*add @{commit} to"
    ):
        locate(NAME)
    assert hub.contents() == [] and converted == []
    locate(f"{NAME}@{commit}")
    assert converted == [CHECKPOINT] and model.file.sha256 is None


# ---- transfers that go wrong ----------------------------------------------------------------------------------


def test_half_a_file_is_gone_on_with(hub, published, converted, monkeypatch, no_waiting):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # it writes down whole chunks
    hub.breaks[:] = [100_000, 250_000]
    if not RESUMES:  # each break is an error, and the next call resumes there
        for _ in range(2):
            with pytest.raises(SondinoError, match=rf"{FILE} of {REPO} cannot be fetched from .* by hand"):
                locate(NAME)
    locate(NAME)
    assert converted == [CHECKPOINT]
    assert [asked.span for asked in hub.contents()] == [None, "bytes=100000-", "bytes=250000-"]
    assert no_waiting == ([1, 1] if RESUMES else [])


def test_a_file_that_never_comes_whole_is_given_up(hub, published, converted, tmp_path, no_waiting):
    hub.breaks[:] = [1000] * 50
    with pytest.raises(
        SondinoError, match=rf"{FILE} of {REPO} cannot be fetched from .*: download .*/{FILE} by hand and"
    ):
        locate(NAME)
    assert converted == [] and cached_files(tmp_path) == []
    assert sum(no_waiting) <= 10
    hub.breaks.clear()
    locate(NAME)
    assert converted == [CHECKPOINT]


def test_a_wrong_hash_is_thrown_away(hub, published, converted, tmp_path):
    wrong = CHECKPOINT[:-1] + b"!"
    hub.sends[lfs_hash(CHECKPOINT)] = wrong
    with pytest.raises(SondinoError) as caught:
        locate(NAME)
    message = str(caught.value)
    assert f"{FILE} of {REPO} came with sha256 {lfs_hash(wrong)}, not as stated ({lfs_hash(CHECKPOINT)})" in message
    assert "and was thrown away: try again, or download " in message and message.endswith("--out BUNDLE")
    assert converted == [] and cached_files(tmp_path) == []
    hub.sends.clear()
    locate(NAME)
    assert converted == [CHECKPOINT]


def test_a_wrong_hash_of_a_bundles_file(hub, tiny, tmp_path):
    content = hub.commits["me/tiny"][tiny]["model.onnx"]
    hub.sends[lfs_hash(content)] = bytes(len(content))
    with pytest.raises(SondinoError, match=r"model.onnx of me/tiny came with sha256 .* and was thrown away: try again"):
        locate("hf:me/tiny")
    assert not list((tmp_path / "cache").rglob("config.json"))
    hub.sends.clear()
    assert locate("hf:me/tiny").name == tiny


@pytest.mark.parametrize("damaged", [FILE, "config.json"])
def test_a_file_damaged_in_the_hubs_cache_is_fetched_again(hub, published, tiny, tmp_path, damaged):
    source = {FILE: NAME, "config.json": "hf:me/tiny"}[damaged]
    right = locate(source)
    (blob,) = {file.resolve() for file in (tmp_path / "hf").rglob(damaged)}
    blob.write_bytes(b"\0" * blob.stat().st_size)
    whole = {file.name: file.read_bytes() for file in right.iterdir()}
    for file in sorted((tmp_path / "cache").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    again = locate(source)
    assert {file.name: file.read_bytes() for file in again.iterdir()} == whole
    assert blob.read_bytes().count(0) < blob.stat().st_size


@pytest.mark.parametrize("status", [500, 503, 429, 404, 403])
def test_a_hub_that_answers_nothing_else(hub, tiny, status, no_waiting):
    hub.status = status
    for source in ("hf:me/tiny", NAME):
        with pytest.raises(SondinoError) as caught:
            locate(source)
        message = str(caught.value)
        assert f"answered {status}" in message if status not in (403, 404) else f"may not see it ({status})" in message
        assert "\n" not in message
    assert no_waiting == []


def test_a_hub_that_lists_and_then_fails(hub, tiny, monkeypatch, no_waiting):
    from huggingface_hub import HfApi

    listed = HfApi().model_info("me/tiny", files_metadata=True)
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: listed)
    hub.status = 503
    with pytest.raises(
        SondinoError, match=r"config.json of me/tiny cannot be fetched \(.* answered 503\): try again lat"
    ):
        locate("hf:me/tiny")
    assert sum(no_waiting) <= 30  # huggingface_hub's own patience


def test_no_network(hub, tiny, published, converted, monkeypatch, tmp_path, no_waiting):
    kept = locate("hf:me/tiny")
    point_at(monkeypatch, "http://127.0.0.1:9", str(tmp_path / "hf"))
    assert locate("hf:me/tiny") == kept
    with pytest.raises(SondinoError) as caught:
        locate("hf:me/other")
    message = str(caught.value)
    assert re.match(
        r"me/other cannot be fetched from http://127.0.0.1:9 \(.*refused.*\): download the files of ", message
    )
    assert "\n" not in message
    with pytest.raises(SondinoError, match=rf"by hand and make it a bundle: sondino convert {FILE} --out BUNDLE$"):
        locate(NAME)
    with pytest.raises(SondinoError, match=r"download .*/heads/gtzan.pth by hand and name that file as the head$"):
        fetch_head("gtzan")
    assert no_waiting == [] and converted == []


def test_offline(hub, tiny, published, converted, monkeypatch, tmp_path):
    kept = locate("hf:me/tiny"), locate(NAME)
    go_offline(monkeypatch, hub, tmp_path)
    assert (locate("hf:me/tiny"), locate(NAME)) == kept
    with pytest.raises(
        SondinoError, match="me/other is not on this machine and HF_HUB_OFFLINE forbids fetching it: dow"
    ):
        locate("hf:me/other")
    with pytest.raises(
        SondinoError, match=rf"{REPO} is not on this machine and HF_HUB_OFFLINE forbids .* sondino conv"
    ):
        locate("ssondo/m2d-mobilenetv3")
    assert hub.asked == []


@pytest.mark.parametrize("revision", [catalogue.SSONDO_COMMIT, None])
def test_what_the_published_package_fetched_is_used(hub, converted, monkeypatch, tmp_path, revision):
    from huggingface_hub import hf_hub_download

    hub.commit(REPO, {FILE: CHECKPOINT}, revision)
    hf_hub_download(REPO, FILE, revision=revision)
    go_offline(monkeypatch, hub, tmp_path)
    locate(NAME)
    assert converted == [CHECKPOINT] and hub.asked == []


def test_a_full_disk(hub, published, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(SondinoError, match=r"cannot be kept in the hub's cache \(No space left on device\): make room"):
        locate(NAME)


# ---- heads ----------------------------------------------------------------------------------------------------


def test_a_head_is_fetched_once(hub, published, monkeypatch, tmp_path):
    for name in names.HEADS:
        assert fetch_head(name).read_bytes() == name.encode() * 100
    hub.asked.clear()
    assert fetch_head("esc50").read_bytes() == b"esc50" * 100
    assert hub.asked == []
    go_offline(monkeypatch, hub, tmp_path)
    assert fetch_head("esc50").read_bytes() == b"esc50" * 100
    assert hub.asked == []
    with pytest.raises(OptionError, match="unknown head 'esc-50': did you mean esc50"):
        fetch_head("esc-50")


def test_heads_stay_at_the_first_commit(hub):
    hub.commit(REPO, {"heads/gtzan.pth": b"first"})
    assert fetch_head("gtzan").read_bytes() == b"first"
    hub.commit(REPO, {"heads/gtzan.pth": b"second"})
    assert fetch_head("gtzan").read_bytes() == b"first"

"""Where a model is: folders, checkpoints that are converted once, names that nobody has published."""

import importlib.util
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from helpers.tiny_bundle import write_tiny_bundle
from sondino import hub
from sondino.cli import main
from sondino.errors import MissingExtra, OptionError, SondinoError
from sondino.hub import cache
from sondino.pretrained.locate import is_kept, locate


class Converter:
    """In place of `sondino.pretrained.convert`: a tiny bundle of whatever it is given, and what it was given."""

    def __init__(self):
        self.given = []

    def convert(self, file, out, *, name=None):
        self.given.append((Path(file).read_bytes(), name))
        if Path(file).read_bytes() == b"bad":
            out.mkdir()
            (out / "config.json").write_text("{}")
            raise OptionError(f"{file} is no checkpoint")
        return write_tiny_bundle(out, name=name or Path(file).stem)


@pytest.fixture
def converter(monkeypatch, tmp_path):
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    converter = Converter()
    module = types.ModuleType("sondino.pretrained.convert")
    module.convert = converter.convert
    monkeypatch.setitem(sys.modules, "sondino.pretrained.convert", module)
    return converter


@pytest.fixture
def no_torch_later(monkeypatch):
    """Call it, and torch is not installed."""
    find = importlib.util.find_spec

    def leave():
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))

    return leave


@pytest.fixture
def no_torch(no_torch_later):
    no_torch_later()


def checkpoint(tmp_path, name="net.ckpt", content=b"weights"):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_a_bundle_and_a_runs_folder(tiny_bundle, tmp_path, monkeypatch):
    assert locate(tiny_bundle) == tiny_bundle == locate(str(tiny_bundle))
    run = tmp_path / "run"
    shutil.copytree(tiny_bundle, run / "bundle")
    assert locate(run) == run / "bundle"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("tiny") == Path("tiny")
    assert locate("~/tiny") == tiny_bundle


def test_a_folder_wins_over_a_published_name(tmp_path, monkeypatch):
    write_tiny_bundle(tmp_path / "ssondo" / "matpac-mobilenetv3")
    monkeypatch.chdir(tmp_path)
    assert locate("ssondo/matpac-mobilenetv3") == Path("ssondo/matpac-mobilenetv3")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".safetensors", ".CKPT"])
def test_a_checkpoint_is_converted_once(converter, no_torch_later, tmp_path, capsys, suffix):
    file = checkpoint(tmp_path, f"net{suffix}")
    bundle = locate(file)
    assert json.loads((bundle / "config.json").read_text())["name"] == "net"
    assert bundle.is_relative_to(tmp_path / "cache" / "models")
    message = capsys.readouterr().err
    assert message == f"sondino: converting net{suffix} into a bundle, once, kept in {bundle}\n"

    no_torch_later()
    assert locate(file) == bundle
    assert locate(checkpoint(tmp_path, f"moved/net{suffix}")) == bundle
    assert len(converter.given) == 1 and capsys.readouterr().err == ""


def test_another_content_or_name_is_another_bundle(converter, tmp_path):
    # The front-end of some checkpoints is known only by their name.
    found = {
        locate(checkpoint(tmp_path, name, content))
        for name, content in [
            ("mn10_as.pt", b"a"),
            ("mn10_as.pt", b"b"),
            ("mn10_as_hop_5.pt", b"a"),
            ("m2d_vit_base-80x608p16x16p32k/mn10_as.pt", b"a"),
            ("m2d_vit_base-80x608p16x16/mn10_as.pt", b"a"),
            ("elsewhere/mn10_as.pt", b"a"),  # as the first
        ]
    }
    assert len(found) == len(converter.given) == 5


def test_another_converter_converts_again(converter, tmp_path, monkeypatch):
    first = locate(checkpoint(tmp_path))
    monkeypatch.setattr("sondino.pretrained.locate.CONVERTER", 99)
    assert locate(checkpoint(tmp_path)) != first
    assert len(converter.given) == 2


def test_without_torch_a_checkpoint_gets_a_message(converter, no_torch, tmp_path):
    with pytest.raises(
        MissingExtra, match=r"net\.ckpt must be converted once.*pip install 'sondino\[train\]', or run `s"
    ):
        locate(checkpoint(tmp_path))


def test_a_failed_conversion_leaves_nothing(converter, tmp_path):
    with pytest.raises(OptionError, match=r"net\.ckpt is no checkpoint"):
        locate(checkpoint(tmp_path, content=b"bad"))
    assert list((tmp_path / "cache" / "models" / "converted").iterdir()) == []
    assert locate(checkpoint(tmp_path, content=b"good")).is_dir()


KILLED = """
import os, sys, types
from pathlib import Path
module = types.ModuleType("sondino.pretrained.convert")
def convert(file, out, *, name=None):
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out.parent / "bundle.partial").mkdir()
    os.kill(os.getpid(), 9)
module.convert = convert
sys.modules["sondino.pretrained.convert"] = module
from sondino.pretrained.locate import locate
locate(sys.argv[1])
"""


def test_a_kill_leaves_nothing_that_counts(converter, tmp_path):
    file = checkpoint(tmp_path)
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], capture_output=True).returncode == -9
    bundle = locate(file)
    assert json.loads((bundle / "config.json").read_text())["name"] == "net"
    assert list(bundle.parent.iterdir()) == [bundle]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "unknown model ''"),
        ("nowhere/run", "nor is there a file or folder of that name"),
        ("./nowhere", "there is no file or folder nowhere: name a bundle, a checkpoint or a published model"),
        ("/nowhere/net", "there is no file or folder /nowhere/net"),
        ("net.ckpt", "there is no file or folder net.ckpt"),
        ("matpac-mobilenetv3", "write ssondo/matpac-mobilenetv3 for the published model"),
        ("mn10_as", "write efficientat/mn10_as for the published model"),
        ("ssondo/matpac-mobilnetv3", "did you mean ssondo/matpac-mobilenetv3"),
        ("ssondo/matpac-mobilenetv3@../..", "names no revision"),
        ("ssondo/matpac-mobilenetv3@", "names no revision"),
        ("efficientat/mn10_as@main", "has no revisions: write efficientat/mn10_as"),
        ("hf:", "write hf:owner/name"),
        ("hf:tiny", "write hf:owner/name"),
        ("hf:../../x", "write hf:owner/name"),
        ("hf:../x", "write hf:owner/name"),
        ("hf:me/..", "write hf:owner/name"),
        ("hf:me/tiny/config.json", "write hf:owner/name"),
        ("hf:/me/tiny", "write hf:owner/name"),
        ("hf://me/tiny", "write hf:owner/name"),
        ("hf:me/ti ny", "write hf:owner/name"),
        ("hf:me/tiny@", "write hf:owner/name or hf:owner/name@revision"),
        ("hf:me/tiny@../..", "write hf:owner/name or hf:owner/name@revision"),
        ("hf:me/tiny@a/../b", "write hf:owner/name or hf:owner/name@revision"),
        ("hf:me/tiny@/etc", "write hf:owner/name or hf:owner/name@revision"),
        ("hf:me/tiny@main\n", "write hf:owner/name or hf:owner/name@revision"),
        ("~nobody-of-that-name/net.ckpt", "cannot be looked up (Could not determine home directory"),
        ("x" * 5000, "cannot be looked up (File name too long)"),
    ],
)
def test_what_is_no_model_gets_a_message(source, message, tmp_path, monkeypatch):
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        locate(source)
    assert message in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_other_files_and_folders_get_a_message(tiny_bundle, tmp_path):
    with pytest.raises(
        OptionError, match=r"is no bundle \(it has no config.json\): name the folder that distill wrote"
    ):
        locate(tmp_path)
    with pytest.raises(OptionError, match=r"model.onnx is no model: name a bundle's folder, or a checkpoint \(.ckpt, "):
        locate(tiny_bundle / "model.onnx")
    with pytest.raises(OptionError, match=r"is part of a bundle: name its folder, .*tiny"):
        locate(checkpoint(tiny_bundle, "model.safetensors"))


def test_a_cache_that_cannot_be_written_gets_a_message(converter, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "file"))
    with pytest.raises(SondinoError, match=r"models cannot be kept in .*set SONDINO_CACHE to a folder"):
        locate(checkpoint(tmp_path))


def test_a_checkpoint_that_cannot_be_read_gets_a_message(converter, tmp_path, monkeypatch):
    def refused(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("sondino.pretrained.locate.sha256", refused)
    with pytest.raises(OptionError, match=r"net.ckpt cannot be read \(Permission denied\)"):
        locate(checkpoint(tmp_path))


def test_a_release_is_fetched_and_converted_once(converter, no_torch_later, tmp_path, monkeypatch):
    fetched = []

    def fetch(name, progress=None):
        fetched.append(name)
        return checkpoint(tmp_path, f"{name}.pt")

    monkeypatch.setattr("sondino.hub.releases.fetch", fetch)
    assert not is_kept("efficientat/mn10_as")
    bundle = locate("efficientat/mn10_as")
    assert json.loads((bundle / "config.json").read_text())["name"] == "efficientat/mn10_as"
    assert is_kept("efficientat/mn10_as") and not is_kept("matpac")
    (tmp_path / "efficientat").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "efficientat")
    Path("matpac").write_text("of something else")
    assert locate("matpac").is_dir()
    no_torch_later()
    assert locate("efficientat/mn10_as") == bundle
    assert fetched == ["efficientat/mn10_as", "matpac"] and len(converter.given) == 2
    monkeypatch.setattr("sondino.pretrained.locate.CONVERTER", 99)
    assert not is_kept("efficientat/mn10_as")


def test_without_torch_nothing_is_downloaded(converter, no_torch, monkeypatch):
    monkeypatch.setattr("sondino.hub.releases.fetch", lambda *_: pytest.fail("downloaded all the same"))
    with pytest.raises(MissingExtra, match=r"matpac must be converted once"):
        locate("matpac")


def test_a_deleted_or_damaged_record_is_made_again(converter, tmp_path, monkeypatch):
    monkeypatch.setattr("sondino.hub.releases.fetch", lambda name, _: checkpoint(tmp_path, f"{name}.pt"))
    bundle = locate("m2d")
    record = tmp_path / "cache" / "models" / "names" / "m2d.json"
    record.write_text('{"": {"bun')
    assert locate("m2d") == bundle and len(converter.given) == 1
    shutil.rmtree(bundle)
    assert locate("m2d") == bundle and len(converter.given) == 2


def test_every_published_model_has_a_file():
    for name, model in hub.PUBLISHED.items():
        assert model.name == name
        assert (model.file is None) == (name in hub.WEIGHTS or model.shipped)
    assert sum(model.file is not None for model in hub.PUBLISHED.values()) == 6
    assert {file.path for file in hub.HEADS.values()} >= {"heads/esc50.pth", "heads/magna-tag-a-tune.pth"}


def test_the_list_shows_what_is_in_the_cache(converter, tiny_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sondino.hub.releases.fetch", lambda name, _: checkpoint(tmp_path, f"{name}.pt"))
    locate("efficientat/dymn10_as")
    with pytest.raises(SystemExit, match="0"):
        main(["models", str(tiny_bundle.parent / "tiny")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.rstrip().endswith("yes")] == [
        "sondino-small",
        "efficientat/dymn10_as",
    ]
    assert {line.split()[0] for line in lines if line} >= {*hub.PUBLISHED, "tiny"}


def test_importing_the_hub_is_cheap():
    code = (
        "import sys; from sondino.pretrained.locate import locate; locate(sys.argv[1])\n"
        "heavy = {'torch', 'huggingface_hub', 'urllib.request', 'rich', 'zipfile'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    bundle = Path(__file__).parents[1] / "data" / "tiny_bundle"
    run = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_name_waits_for_another_that_gets_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path))
    code = (
        "from sondino.hub.cache import lock_and_wait, remember\n"
        "with lock_and_wait('a/b', 'the model b'):\n"
        "    remember('a/b', '', {})\n"
    )
    with cache.lock_and_wait("a/b", "b"):
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        assert child.stderr.readline() == "sondino: waiting for another process that is getting the model b\n"
        assert cache.recall("a/b") == {}
    child.communicate()
    assert child.returncode == 0
    assert cache.recall("a/b") == {"": {}}

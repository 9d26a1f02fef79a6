"""The safe reader: what it opens, and that it refuses everything else with a message, without running it."""

import argparse
import builtins
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import torch
from safetensors.torch import save_file

from helpers.skips import not_as_root
from sondino.errors import OptionError
from sondino.nets.checkpoints import read_checkpoint, read_state, state_dict

SYSTEM = f"{os.system.__module__}.system"


class Command:
    """Unpickled, it would run a command of the system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Expression:
    """Unpickled, it would evaluate Python."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self):
        return builtins.eval, (self.text,)


@pytest.fixture
def trap(tmp_path):
    """A file that a malicious checkpoint would make; checked afterwards."""
    file = tmp_path / "trap"
    yield file
    assert not file.exists()


def save(content, path: Path, **options) -> Path:
    torch.save(content, path, **options)
    return path


def refused(path: Path) -> str:
    with pytest.raises(OptionError) as raised:
        read_state(path)
    message = str(raised.value)
    assert str(path) in message and "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize("new_format", [True, False])
def test_a_checkpoint_that_would_run_a_command_does_not(tmp_path, trap, new_format):
    content = {"state_dict": {"a": torch.ones(3)}, "callbacks": Command(f"touch {trap}")}
    file = save(content, tmp_path / "evil.ckpt", _use_new_zipfile_serialization=new_format)
    assert f"asks to use {SYSTEM} when it is opened" in refused(file)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_that_would_run_code_does_not(tmp_path, trap, protocol):
    file = tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps({"a": Expression(f"open({str(trap)!r}, 'w')")}, protocol=protocol))
    assert "asks to use builtins.eval" in refused(file)


def test_the_trap_itself_works(tmp_path):
    file = tmp_path / "made"
    call, arguments = Expression(f"open({str(file)!r}, 'w').close()").__reduce__()  # what unpickling would do
    call(*arguments)
    assert file.exists()


def test_what_a_whole_saved_model_or_numpy_or_a_path_wants_is_named(tmp_path):
    wanted = {
        "torch.nn.modules.linear.Linear": torch.nn.Linear(2, 2),
        "_reconstruct": {"a": torch.ones(2), "b": np.ones(2)},
        "numpy.dtype": {"a": torch.ones(2), "b": np.float64(1)},
        "PosixPath": {"a": torch.ones(2), "b": Path("a").absolute()},
    }
    for number, (name, content) in enumerate(wanted.items()):
        assert name in refused(save(content, tmp_path / f"{number}.pt"))


def test_names_of_a_hostile_file_cannot_draw_on_the_terminal(tmp_path):
    file = tmp_path / "evil.pt"
    file.write_bytes(b"c\x1b[2J\x07nowhere\nsystem" + b"x" * 500 + b"\n(tR.")
    message = refused(file)
    assert "nowhere.system" in message and message.isprintable()


def test_opens_what_published_files_hold(tmp_path):
    tensors = OrderedDict(a=torch.arange(3.0), b=torch.ones(2, 2, dtype=torch.float16))
    options = argparse.Namespace(lr=3e-4, data=argparse.Namespace(path="x"))
    content = {"state_dict": tensors, "args": options, "epoch": 3, "betas": (0.9, 0.999), "none": None, "set": {1, 2}}
    for number, new_format in enumerate((True, False)):
        file = save(content, tmp_path / f"{number}.ckpt", _use_new_zipfile_serialization=new_format)
        whole = read_checkpoint(file)
        assert (whole["args"].data.path, whole["epoch"], whole["betas"]) == ("x", 3, (0.9, 0.999))
        got = read_state(file)
        assert list(got) == ["a", "b"] and all(torch.equal(got[name], tensors[name]) for name in tensors)
    flat = save(tensors, tmp_path / "flat.pt")
    nested = save({"model": tensors, "epoch": torch.ones(1)}, tmp_path / "nested.pth")
    save_file(tensors, tmp_path / "plain.safetensors")
    save_file(tensors, tmp_path / "plain.bin")  # recognised by its content
    for file in (flat, nested, tmp_path / "plain.safetensors", tmp_path / "plain.bin"):
        assert list(read_state(file)) == ["a", "b"]
    assert state_dict({"state_dict": {"a": tensors["a"], "note": "text", 3: tensors["b"]}}, flat).keys() == {"a"}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_is_no_checkpoint_gets_a_message(tmp_path):
    good = save({"a": torch.ones(2000)}, tmp_path / "good.pt").read_bytes()
    old = save({"a": torch.ones(2000)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False).read_bytes()
    save_file({"a": torch.ones(2000)}, tmp_path / "good.safetensors")
    plain = (tmp_path / "good.safetensors").read_bytes()
    pack = io.BytesIO()
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("readme.txt", "hello")
    contents = {
        "empty.pt": (b"", "is empty"),
        "text.pt": (b"not a checkpoint", "is no checkpoint"),
        "text.safetensors": (b"not a checkpoint", "is no checkpoint"),
        "header.safetensors": ((10**15).to_bytes(8, "little") + b'{"a":1}', "is no checkpoint"),
        "cut.safetensors": (plain[:-100], "is no checkpoint"),
        "half.ckpt": (good[: len(good) // 2], "is cut short"),
        "most.ckpt": (good[:-30], "is cut short"),
        "flipped.ckpt": (good.replace(b"\0\0\x80\x3f", b"\0\0\x81\x3f", 1), "is cut short or damaged"),
        "half_old.pt": (old[:-500], "cannot be read as a checkpoint"),
        "start_old.pt": (old[:100], "is no checkpoint"),
        "pointer.ckpt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "git lfs pull"),
        "page.ckpt": (b"\n<!DOCTYPE html><html>", "is a web page"),
        "archive.pt": (pack.getvalue(), "is a zip archive"),
        "sound.wav": (b"RIFF\x24\x08\0\0WAVEfmt ", "is no checkpoint"),
        "noise.pt": (bytes(range(256)) * 9, "is no checkpoint"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        assert message in refused(tmp_path / name), name
    saved = {
        "list.pt": ([torch.ones(2)], "holds no state dict"),
        "text_saved.pt": ("hello", "holds no state dict"),
        "numbers.pt": ({"state_dict": {"a": 1}}, "holds no state dict"),
        "meta.pt": ({"a": torch.ones(2, device="meta")}, "a is no plain tensor"),
        "sparse.pt": ({"a": torch.ones(2).to_sparse()}, "a is no plain tensor"),
    }
    for name, (content, message) in saved.items():
        assert message in refused(save(content, tmp_path / name)), name
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    assert "is a TorchScript program" in refused(tmp_path / "script.pt")
    assert "is a folder" in refused(tmp_path)
    assert "there is no file" in refused(tmp_path / "absent.ckpt")


def test_a_file_that_claims_terabytes_costs_none(tmp_path):
    number, huge = b"M\xd0\x07", b"\x8a\x06" + (10**13).to_bytes(6, "little")  # 2000 and 10^13, as pickle writes them
    old = save({"a": torch.ones(2000)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False).read_bytes()
    assert number in old
    (tmp_path / "old.pt").write_bytes(old.replace(number, huge))
    assert "cannot be read" in refused(tmp_path / "old.pt")

    with zipfile.ZipFile(save({"a": torch.ones(2000)}, tmp_path / "new.pt")) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for claimed in (huge, b"M\xd1\x07", b"J\x30\xf8\xff\xff"):  # 10^13, one more than there are, -2000
        with zipfile.ZipFile(tmp_path / "claims.pt", "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data.replace(number, claimed) if name.endswith("data.pkl") else data)
        assert "claims larger tensors than it holds" in refused(tmp_path / "claims.pt")
    with zipfile.ZipFile(tmp_path / "id.pt", "w") as archive:
        for name, data in parts.items():  # the storage's id as a list and not a tuple
            archive.writestr(name, data.replace(b"tq\x07Q", b"lq\x07Q"))
    assert "is no checkpoint, or a damaged one" in refused(tmp_path / "id.pt")

    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        archive.writestr("new/data/9", bytes(10**7))
    assert "unpack to more than it holds" in refused(tmp_path / "bomb.pt")


@not_as_root
def test_a_file_without_permission_gets_a_message(tmp_path):
    file = save({"a": torch.ones(2)}, tmp_path / "secret.pt")
    file.chmod(0)
    assert "check its permissions" in refused(file)

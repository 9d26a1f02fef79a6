"""Bundles whose files are links into a store, as git-annex, DVC and the hub's cache make them."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.page_bundle import write_page_bundle
from helpers.skips import needs_posix
from sondino.onnx_weights import with_weights
from sondino.runtimes import onnx_session
from sondino.teachers.graph_costs import load_graph

pytestmark = needs_posix  # links need a right of their own on Windows

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bundle with a net by itself, whose weights are in model.onnx, and a head."""
    return write_page_bundle(tmp_path / "bundle")


def annexed(file: Path, digest: str) -> Path:
    return file.parent / ".git/annex/objects/F0/9k" / digest / f"{digest}.onnx"


def in_the_hub(file: Path, digest: str) -> Path:
    return file.parent / "../../blobs" / digest


def cached(file: Path, digest: str) -> Path:
    return file.parent.parent / "cache/files/md5" / digest[:2] / digest[2:]


def linked(file: Path, place: Callable[[Path, str], Path], whole: bool = False) -> Path:
    """Put a file elsewhere and a link in its place; returns where it went."""
    store = place(file, hashlib.sha256(file.read_bytes()).hexdigest())
    store.parent.mkdir(parents=True, exist_ok=True)
    file.rename(store)
    file.symlink_to(store.resolve() if whole else os.path.relpath(store, file.parent))
    return store


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", [annexed, in_the_hub, cached])
@pytest.mark.parametrize("names", [("model.onnx",), ("body.onnx",), None])
def test_a_bundle_of_links_gives_the_same_embeddings(engine, place, names, bundle):
    if engine == "openvino":
        pytest.importorskip("openvino")
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 40000).astype(np.float32)
    expected = sondino.load(bundle, engine=engine).embed((sound, 16000))
    for file in [*bundle.iterdir()]:
        if names is None or file.name in names:
            linked(file, place, whole=place is cached)
    np.testing.assert_allclose(sondino.load(bundle, engine=engine).embed((sound, 16000)), expected, atol=1e-6)


def test_a_folder_that_is_a_link_is_a_bundle(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    assert sondino.load(tmp_path / "link").embed((np.ones(16000, "f4"), 16000)).shape[0] == 1


@pytest.mark.parametrize("name", ["config.json", "model.onnx", "body.onnx", "head.safetensors"])
def test_a_link_to_nothing_is_named(name, bundle):
    linked(bundle / name, annexed).unlink()
    with pytest.raises(sondino.SondinoError, match=rf"{name} is a link to .*not there.*git annex get") as raised:
        sondino.load(bundle)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["config.json", "model.onnx", "body.onnx", "head.safetensors"])
@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("/annex/objects/SHA256E-s3--abc.onnx\n", "git annex get"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n", "git lfs pull"),
    ],
)
def test_a_pointer_in_the_place_of_a_file_is_named(name, content, command, bundle):
    (bundle / name).write_text(content)
    with pytest.raises(sondino.SondinoError, match=rf"{name} has only a pointer.*{command}"):
        sondino.load(bundle)


def test_a_file_that_dvc_has_not_fetched_is_named(bundle):
    (bundle / "model.onnx").rename(bundle / "model.onnx.dvc")
    with pytest.raises(sondino.SondinoError, match=r"only model\.onnx\.dvc: fetch it first with `dvc pull`"):
        sondino.load(bundle)


def test_weights_beside_a_net_may_be_links(bundle, tmp_path):
    """Of any ONNX file, such as a teacher's; a link to nothing is named here too."""
    logmel = np.random.default_rng(0).standard_normal((1, 128, 100)).astype(np.float32)
    session = onnx_session(bundle / "body.onnx", 1)
    given = session.get_inputs()[0]
    expected = session.run(None, {given.name: logmel})[0]
    store = linked(bundle / "model.onnx", cached)
    found = onnx_session(bundle / "body.onnx", 1).run(None, {given.name: logmel})[0]
    np.testing.assert_array_equal(found, expected)
    assert {tensor.name for tensor in load_graph(bundle / "body.onnx").graph.initializer} >= {"filters", "mixing"}
    store.unlink()
    with pytest.raises(sondino.SondinoError, match=r"model\.onnx is a link to"):
        onnx_session(bundle / "body.onnx", 1)


def test_weights_outside_of_the_folder_are_not_read(bundle, tmp_path):
    """By their name in the file: only a link, which the user made, leads out of it."""
    onnx = pytest.importorskip("onnx")
    shutil.copyfile(bundle / "model.onnx", tmp_path / "model.onnx")
    body = onnx.load(bundle / "body.onnx", load_external_data=False)
    for tensor in body.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../model.onnx"
    (bundle / "body.onnx").write_bytes(body.SerializeToString())
    with pytest.raises(ValueError, match="outside of its folder"):
        with_weights(bundle / "body.onnx")

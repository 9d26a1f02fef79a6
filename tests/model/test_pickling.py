"""A model in another process: what is sent is where its bundle is and how it was opened."""

import copy
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sondino.encoder.head import Head
from sondino.errors import SondinoError
from sondino.model.bundle import copy_with_head
from sondino.model.model import Model
from sondino.model.places import here, movable
from sondino.pretrained.load import load

CLIPS = Path(__file__).parents[1] / "data" / "clips"
LOUD = Head("loud", ("quiet", "loud"), False, ((np.array([[0, 0, -8], [0, 0, 8]]), np.array([4.0, -4.0])),))
QUIET = Head("quiet", ("loud", "quiet"), False, LOUD.layers, short="native")


def test_it_is_opened_again_with_the_same_options(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Model("tiny", threads=3, window_policy="published")
    sent = pickle.dumps(model)
    monkeypatch.chdir(CLIPS)  # a relative path would be another folder there
    received = pickle.loads(sent)
    assert (received.threads, received.window_policy, received.folder) == (3, "published", tiny_bundle)
    assert received.fingerprint == model.fingerprint
    assert len(sent) < 1000  # neither weights nor labels


@pytest.mark.parametrize("of_bundle", [True, False])
def test_heads_survive(tiny_bundle, tmp_path, of_bundle):
    counts = {"width": 1.0, "parameters": 1, "macs_per_10s": 1.0, "onnx_difference": 0.0}
    copy_with_head(tiny_bundle, tmp_path / "quiet", QUIET, counts)
    model = Model(tmp_path / "quiet") if of_bundle else load(tmp_path / "quiet", head=LOUD)
    received = pickle.loads(pickle.dumps(model))
    assert received.head.labels == model.head.labels == (("loud", "quiet") if of_bundle else ("quiet", "loud"))
    assert received.short == model.short == ("native" if of_bundle else "pad")
    assert np.array_equal(received.classify(CLIPS), model.classify(CLIPS))


def test_a_folder_that_has_gone_is_named(tiny_bundle):
    sent = pickle.dumps(Model(tiny_bundle))
    shutil.rmtree(tiny_bundle)
    with pytest.raises(SondinoError) as raised:
        pickle.loads(sent)
    assert str(raised.value) == (
        f"{tiny_bundle}: the folder of the model tiny is not here; a pickled model holds the path of its bundle, not "
        "the weights: copy the bundle to that path, or load the model again"
    )


def test_another_bundle_at_the_path_is_refused(make_tiny_bundle):
    sent = pickle.dumps(Model(make_tiny_bundle("sent")))
    make_tiny_bundle("sent", window=2.0)
    with pytest.raises(SondinoError, match="is another bundle than the one that was sent here; load it again"):
        pickle.loads(sent)


def test_copies_share_the_net_and_nothing_else(tiny_bundle):
    model = Model(tiny_bundle).with_head(LOUD)
    for copied in (copy.copy(model), copy.deepcopy(model)):
        assert copied is not model and copied._session is model._session
        assert np.array_equal(copied.classify(CLIPS), model.classify(CLIPS))
    deep = copy.deepcopy([model])[0]
    deep.config["name"] = "changed"
    assert model.config["name"] == "tiny"


def test_what_comes_with_the_package_and_the_cache_is_found_where_they_are(tmp_path, monkeypatch):
    shipped = load().folder
    assert movable(shipped) == ("package", "shipped/sondino-small") and here(movable(shipped)) == shipped
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "a"))
    place = movable(tmp_path / "a" / "models" / "hub" / "x")
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "b"))
    assert here(place) == tmp_path / "b" / "models" / "hub" / "x"
    assert movable(tmp_path / "own") == ("", str(tmp_path / "own"))


RECEIVED = "import pickle, sys; print(pickle.load(sys.stdin.buffer).embed(sys.argv[1]).tolist())"


def test_a_new_interpreter_gives_the_same_embeddings(tiny_bundle):
    model = Model(tiny_bundle)
    run = subprocess.run(
        [sys.executable, "-c", RECEIVED, str(CLIPS)], input=pickle.dumps(model), capture_output=True, check=True
    )
    assert np.array_equal(np.array(eval(run.stdout), np.float32), model.embed(CLIPS))


def test_spawned_processes_take_a_model(tiny_bundle):
    model, files = Model(tiny_bundle, threads=1), sorted(map(str, CLIPS.glob("*.ogg")))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(np.concatenate(pool.map(model.embed, files)), model.embed(files))


def test_joblib_s_processes_take_a_model(tiny_bundle):
    joblib = pytest.importorskip("joblib", reason="the report extra is not installed")
    model, files = Model(tiny_bundle, threads=1).with_head(LOUD), sorted(map(str, CLIPS.glob("*.ogg")))
    found = joblib.Parallel(2)(joblib.delayed(model.classify)(file) for file in files)
    assert np.array_equal(np.concatenate(found), model.classify(files))
    assert joblib.hash(model) == joblib.hash(copy.deepcopy(model)) != joblib.hash(Model(tiny_bundle))


@pytest.mark.slow
def test_torch_s_data_loader_takes_a_model(tiny_bundle, tmp_path):
    """In a process of its own: a loader leaves a handler of signals behind in that of the tests."""
    pytest.importorskip("torch.utils.data", reason="the train extra is not installed")
    model, files = Model(tiny_bundle, threads=1), sorted(map(str, CLIPS.glob("*.ogg")))
    command = [sys.executable, "-m", "helpers.dataset", tiny_bundle, tmp_path / "found.npy", *files]
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tests, check=False)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "found.npy"), model.embed(files))

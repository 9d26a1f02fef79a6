"""Several processes that get the same model at once or are killed, and the environment that huggingface_hub reads."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.hub_server import Hub, point_at, serving
from helpers.tiny_bundle import write_tiny_bundle
from sondino.hub.catalogue import SSONDO, SSONDO_COMMIT
from sondino.pretrained.locate import locate


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds a bundle, me/tiny."""
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    bundle = write_tiny_bundle(tmp_path / "source")
    with serving() as hub:
        hub.commit("me/tiny", {file.name: file.read_bytes() for file in bundle.iterdir()})
        point_at(monkeypatch, hub.url, str(tmp_path / "hf"))
        yield hub


CODE = "import sys; from sondino.pretrained.locate import locate; print(locate(sys.argv[1]))"


def environment(hub, tmp_path, **more):
    own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return own | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")} | more


def test_a_second_process_waits_for_the_first(hub, tmp_path):
    hub.gate.clear()
    first = threading.Thread(target=locate, args=("hf:me/tiny",))
    first.start()
    assert hub.reached.wait(60)
    command = [sys.executable, "-c", CODE, "hf:me/tiny"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    second = subprocess.Popen(command, env=environment(hub, tmp_path), **streams)
    assert second.stderr.readline() == "sondino: waiting for another process that is getting hf:me/tiny\n"
    hub.gate.set()
    first.join()
    assert second.communicate()[0].strip() == str(locate("hf:me/tiny"))
    assert len(hub.contents()) == 1


def test_a_process_killed_while_it_fetches_leaves_nothing_that_counts(hub, tmp_path):
    hub.gate.clear()
    first = subprocess.Popen([sys.executable, "-c", CODE, "hf:me/tiny"], env=environment(hub, tmp_path))
    assert hub.reached.wait(60)
    first.kill()
    first.wait()
    hub.gate.set()
    bundle = locate("hf:me/tiny")
    assert sondino.load(bundle).dim == 3
    assert list(bundle.parent.iterdir()) == [bundle]


@pytest.mark.full
def test_the_hubs_environment_holds_for_the_command_line(hub, tmp_path):
    hub.private.add("me/tiny")
    clips = Path(__file__).parents[1] / "data" / "clips"
    command = [sys.executable, "-m", "sondino", "embed", clips, "--output", tmp_path / "v.npz", "--quiet", "--model"]

    def embed(model, **more):
        settings = environment(hub, tmp_path, **more)
        return subprocess.run([*map(str, command), model], env=settings, capture_output=True, text=True)

    refused = embed("hf:me/tiny")
    assert refused.returncode == 2 and "set HF_TOKEN" in refused.stderr and refused.stderr.count("\n") == 1
    done = embed("hf:me/tiny", HF_TOKEN=Hub.TOKEN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "hub" / "models--me--tiny").is_dir()
    hub.asked.clear()
    assert embed("hf:me/tiny", HF_HUB_OFFLINE="1").returncode == 0
    offline = embed("hf:me/other", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and "HF_HUB_OFFLINE forbids" in offline.stderr and offline.stderr.count("\n") == 1
    assert hub.asked == []


LATER = """
import sys
sys.modules["torch"] = sys.modules["huggingface_hub"] = None  # importing them raises ImportError
import numpy as np, sondino
np.save(sys.argv[2], sondino.load("ssondo/m2d-mobilenetv3").embed((np.load(sys.argv[1]), 32000)))
"""


@pytest.mark.full
@pytest.mark.usefixtures("traced_once")
def test_a_published_name_gives_its_golden_vector_and_later_without_torch_and_network(hub, tmp_path):
    pytest.importorskip("torch", reason="the train extra is not installed")
    from helpers.golden import DATA, error, wave
    from helpers.published import write_ssondo

    checkpoint = write_ssondo(tmp_path / "by_rule.ckpt", "mobilenetv3").read_bytes()
    hub.commit(SSONDO, {"m2d_mobilenetv3.ckpt": checkpoint}, SSONDO_COMMIT)
    model = sondino.load("ssondo/m2d-mobilenetv3")
    assert model.name == "ssondo/m2d-mobilenetv3"
    vector = model.embed((wave(10, 32000), 32000))
    assert error(vector[None], np.load(DATA / "students.npz")["mobilenetv3_emb_10s"]) < 1e-4
    np.save(tmp_path / "wave.npy", wave(10, 32000))
    command = [sys.executable, "-c", LATER, tmp_path / "wave.npy", tmp_path / "later.npy"]
    later = subprocess.run(command, env=environment(hub, tmp_path, HF_HUB_OFFLINE="1"), capture_output=True)
    assert later.returncode == 0, later.stderr
    assert np.array_equal(np.load(tmp_path / "later.npy"), vector)
    assert len(hub.contents()) == 1

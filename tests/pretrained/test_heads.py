"""The seven published heads: their labels, and reading a .pth of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sondino.encoder.head import Head
from sondino.errors import OptionError, SondinoError
from sondino.pretrained.heads import load_head, misfit_warning, published_heads

torch = pytest.importorskip("torch")

SIZES = {"esc50": 50, "us8k": 10, "fsd50k": 200, "gtzan": 10, "openmic": 20, "nsynth": 11, "magna-tag-a-tune": 50}
ANCHORS = {  # places that the data sets' own files state
    "esc50": {0: "dog", 10: "rain", 30: "door_wood_knock", 33: "door_wood_creaks", 49: "hand_saw"},
    "us8k": {0: "air_conditioner", 3: "dog_bark", 9: "street_music"},
    "fsd50k": {
        0: "Accelerating_and_revving_and_vroom",
        53: "Crushing",
        69: "Electric_guitar",
        199: "Zipper_(clothing)",
    },
    "gtzan": {0: "blues", 4: "hiphop", 9: "rock"},
    "openmic": {0: "accordion", 9: "mallet_percussion", 19: "voice"},
    "nsynth": {0: "bass", 9: "synth_lead", 10: "vocal"},
    "magna-tag-a-tune": {0: "tag 0", 49: "tag 49"},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_pth(file: Path, name: str, dim: int = 960, classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((classes or SIZES[name], dim)).astype(np.float32)
    bias = rng.standard_normal(len(weight)).astype(np.float32)
    state = {"probe.linear_probe.weight": torch.from_numpy(weight), "probe.linear_probe.bias": torch.from_numpy(bias)}
    torch.save(state, file)
    return weight, bias


@pytest.mark.parametrize("name", SIZES)
def test_each_has_its_data_sets_labels(name: str, tmp_path: Path) -> None:
    weight, bias = write_pth(tmp_path / f"{name}.pth", name)
    head = load_head(tmp_path / f"{name}.pth")
    assert len(head.labels) == SIZES[name] and all(head.labels[i] == label for i, label in ANCHORS[name].items())
    assert head.multi_label == (name in ("fsd50k", "openmic", "magna-tag-a-tune"))
    assert np.array_equal(head.layers[0][0], weight) and np.array_equal(head.layers[0][1], bias)
    assert "publisher does not" in head.note and f"heads/{name}.pth" in head.note
    x = np.random.default_rng(1).standard_normal((2, 960)).astype(np.float32)
    assert np.allclose(head.logits(x), x @ weight.T + bias, atol=1e-4)


def test_alphabetical_sets_are_so() -> None:
    for name in ("us8k", "fsd50k", "gtzan", "openmic", "nsynth"):
        labels = published_heads()[name]["labels"]
        assert labels == sorted(labels), name


def test_a_name_is_fetched_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pth(tmp_path / "somewhere.pth", "us8k")
    asked = []
    monkeypatch.setattr(
        "sondino.pretrained.heads.fetch_head", lambda name: asked.append(name) or tmp_path / "somewhere.pth"
    )
    assert load_head("us8k").labels[8] == "siren" and asked == ["us8k"]


def test_a_second_time_it_needs_no_torch(tmp_path: Path, own_cache: Path) -> None:
    weight, _ = write_pth(tmp_path / "gtzan.pth", "gtzan")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sondino.errors import SondinoError; from sondino.pretrained.heads import load_head\n"
        "try:\n    print(load_head(sys.argv[1]).layers[0][0].sum())\nexcept SondinoError as error:\n    print(error)\n"
    )

    def without_torch() -> str:
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "gtzan.pth")],
            capture_output=True,
            text=True,
            env=dict(os.environ),
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    assert "pip install 'sondino[train]'" in without_torch()
    load_head(tmp_path / "gtzan.pth")
    assert float(without_torch()) == pytest.approx(float(weight.sum()), rel=1e-4)
    # Another file under the same name is read anew.
    ones = {"probe.linear_probe.weight": torch.ones(10, 960), "probe.linear_probe.bias": torch.zeros(10)}
    torch.save(ones, tmp_path / "gtzan.pth")
    assert float(load_head(tmp_path / "gtzan.pth").layers[0][0].sum()) == 9600


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("a file in the way")
    write_pth(tmp_path / "gtzan.pth", "gtzan")
    assert load_head(tmp_path / "gtzan.pth").name == "gtzan"


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"probe.linear_probe.weight": torch.zeros(10, 960), "probe.linear_probe.bias": Runs()}, "gtzan.pth")
    with pytest.raises(SondinoError, match=r"gtzan\.pth"):
        load_head("gtzan.pth")
    assert not Path("ran").exists()


def test_what_is_no_published_head_gets_a_message(tmp_path: Path, make_tiny_bundle) -> None:
    write_pth(tmp_path / "esc50.pth", "esc50", dim=1024)
    with pytest.raises(SondinoError, match=r"\(50, 1024\).*\(50, 960\)"):
        load_head(tmp_path / "esc50.pth")
    write_pth(tmp_path / "us8k.pth", "us8k", classes=11)
    with pytest.raises(SondinoError, match="of another data set"):
        load_head(tmp_path / "us8k.pth")
    write_pth(tmp_path / "mine.pth", "us8k")
    with pytest.raises(OptionError, match="name the file after its data set"):
        load_head(tmp_path / "mine.pth")
    torch.save({"fc.weight": torch.zeros(10, 960)}, tmp_path / "nsynth.pth")
    with pytest.raises(OptionError, match=r"must hold probe\.linear_probe\.weight"):
        load_head(tmp_path / "nsynth.pth")
    with pytest.raises(OptionError, match="did you mean esc50"):
        load_head("esc5")
    with pytest.raises(OptionError, match="does not exist"):
        load_head(tmp_path / "gone.pth")
    with pytest.raises(OptionError, match="is no bundle"):
        load_head(tmp_path)
    with pytest.raises(OptionError, match="has no head: fit one with"):
        load_head(make_tiny_bundle())


def test_on_another_model_its_labels_mean_nothing(tmp_path: Path) -> None:
    write_pth(tmp_path / "us8k.pth", "us8k")
    head = load_head(tmp_path / "us8k.pth")
    home = {"name": "ssondo/matpac-mobilenetv3", "source": {"file": "matpac_mobilenetv3.ckpt"}}
    assert misfit_warning(head, home) == "" and misfit_warning(head, {**home, "finetuned": {"freeze": True}}) == ""
    assert "mean nothing" in misfit_warning(head, {**home, "finetuned": {"freeze": False}})
    for other in ({"name": "hour"}, {"name": "m2d", "source": {"file": "m2d_mobilenetv3.ckpt"}}):
        assert f"on those of {other['name']} its labels mean nothing" in misfit_warning(head, other)
    own = Head("us8k", ("a", "b"), False, ((np.zeros((2, 3)), np.zeros(2)),))
    assert misfit_warning(own, {"name": "hour"}) == ""


def test_a_bundles_head_can_be_taken(make_tiny_bundle) -> None:
    from sondino.model.head import write_head

    folder = make_tiny_bundle("mine")
    head = Head("loud", ("quiet", "loud"), False, ((np.eye(2, 3), np.zeros(2)),))
    entry = write_head(folder, head)
    assert make_tiny_bundle("mine", head=entry) == folder
    assert load_head(folder).labels == ("quiet", "loud")

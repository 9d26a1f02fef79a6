"""Publishing a bundle: what a repository gets, and what is refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.hub_server import Hub, lfs_hash, point_at, serving
from helpers.loudness import CARD, RATE
from sondino import cli
from sondino.encoder.head import Head
from sondino.errors import OptionError, SondinoError
from sondino.exporters.publishing import licence_name, published_card, push
from sondino.model.bundle import copy_with_head

pytest.importorskip("huggingface_hub", reason="the hub extra is not installed")

TEACHER = {"spec": "onnx:/home/somebody/models/teacher.onnx#pool/mean?rate=16000", "licence": "MIT", "dim": 3}
HEAD = Head("levels", ("loud", "quiet"), False, ((np.eye(2, 3), np.zeros(2)),))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    with serving() as hub:
        point_at(monkeypatch, hub.url, str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
        yield hub


@pytest.fixture
def make_bundle(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> Callable[..., Path]:
    def make(name: str = "bundle", **config: object) -> Path:
        facts = {"teachers": [TEACHER], "scores": {"validation_cosine": 0.75}} | config
        return copy_with_head(make_tiny_bundle(f"bare {name}", **CARD, **facts), tmp_path / name, HEAD, {})

    return make


def front_matter(readme: bytes) -> dict:
    yaml = pytest.importorskip("yaml", reason="the train extra is not installed")
    _, front, _ = readme.decode().split("---\n", 2)
    return yaml.safe_load(front)


def test_what_is_published_is_opened_by_its_name(hub: Hub, make_bundle: Callable[..., Path]) -> None:
    score = {"metric": "accuracy", "value": 0.5, "interval95": [0.2, 0.8], "chance": 0.5, "clips": 9, "on": "5 folds"}
    bundle = make_bundle(head_score=score)
    address = push(bundle, "me/levels")
    files = hub.commits["me/levels"][hub.branches["me/levels"]["main"]]
    assert address == f"{hub.url}/me/levels/commit/{hub.branches['me/levels']['main']}"
    assert set(files) == {"config.json", "model.onnx", "head.safetensors", "README.md", "example.ogg"}
    model, own = sondino.load("hf:me/levels"), sondino.load(bundle)
    wave = np.linspace(-1, 1, RATE, dtype=np.float32)
    assert np.array_equal(model.embed([(wave, RATE)]), own.embed([(wave, RATE)]))
    assert model.head is not None and model.head.labels == ("loud", "quiet")
    front = front_matter(files["README.md"])
    assert (front["license"], front["library_name"], front["pipeline_tag"]) == (
        "mit",
        "sondino",
        "audio-classification",
    )
    assert "distillation" in front["tags"] and front["teachers"] == ["onnx:teacher.onnx#pool/mean?rate=16000"]
    (result,) = front["model-index"]
    own, head = result["results"]
    (metric,), (of_head,) = own["metrics"], head["metrics"]
    assert (of_head["type"], of_head["value"], head["dataset"]["name"]) == (
        "accuracy",
        0.5,
        "9 labelled clips, 5 folds",
    )
    assert (result["name"], metric["type"], metric["value"]) == ("levels", "validation_cosine", 0.75)
    assert (
        front["widget"][0]["src"] == f"{hub.url}/me/levels/resolve/main/example.ogg"
        and files["example.ogg"][:4] == b"OggS"
    )
    assert 'sondino.load("hf:me/levels")' in files["README.md"].decode()
    texts = files["README.md"].decode() + files["config.json"].decode()
    assert "somebody" not in texts and "/home" not in texts
    assert json.loads(files["config.json"])["teachers"][0]["licence"] == "MIT"


def test_a_second_push_is_a_second_commit(hub: Hub, make_bundle: Callable[..., Path], capsys) -> None:
    push(make_bundle(), "me/levels", private=True)
    assert hub.private == {"me/levels"}
    with pytest.raises(SystemExit, match="0"):
        cli.main(["push", str(make_bundle("other", scores={})), "me/levels", "--licence", "apache-2.0"])
    assert len(hub.commits["me/levels"]) == 2
    files = hub.commits["me/levels"][hub.branches["me/levels"]["main"]]
    front = front_matter(files["README.md"])
    assert front["license"] == "apache-2.0" and "model-index" not in front
    assert 'use: sondino.load("hf:me/levels")' in capsys.readouterr().out


def test_large_files_go_through_git_lfs(hub: Hub, make_bundle: Callable[..., Path], monkeypatch) -> None:
    from huggingface_hub import constants

    # With hf_xet the library speaks a protocol of its own, to other servers.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    hub.lfs, bundle = True, make_bundle()
    hub.upload_status = 403
    with pytest.raises(
        SondinoError, match=r"me/levels was not changed, since .* \(Error while uploading '.*' to the Hub: .*403"
    ):
        push(bundle, "me/levels")
    assert not hub.commits["me/levels"] and not hub.stored
    hub.upload_status = 0
    push(bundle, "me/levels")
    files = hub.commits["me/levels"][hub.branches["me/levels"]["main"]]
    large = {"model.onnx", "head.safetensors", "example.ogg"}
    assert set(files) == {"config.json", "README.md"} | large
    assert set(hub.stored) == hub.verified == {lfs_hash(files[name]) for name in large}
    assert (bundle / "model.onnx").read_bytes() == files["model.onnx"]
    puts = [asked for asked in hub.asked if asked.method == "PUT"]
    assert len(puts) >= 3 and {asked.token for asked in puts} == {None}
    push(bundle, "me/levels")  # what is there already is not sent again
    assert [asked for asked in hub.asked if asked.method == "PUT"] == puts
    wave = np.linspace(-1, 1, RATE, dtype=np.float32)
    opened = sondino.load("hf:me/levels")
    assert np.array_equal(opened.embed([(wave, RATE)]), sondino.load(bundle).embed([(wave, RATE)]))


@pytest.mark.parametrize(
    ("licence", "message"),
    [
        (None, r"the licence of onnx:teacher.onnx\?rate=16000 is not known: ask its makers, then give --yes"),
        ("the file's", "is not known"),
        ("CC BY-NC-SA 4.0", r"restricts its use \(CC BY-NC-SA 4.0\)"),
        ("for non-commercial research only", "restricts its use"),
    ],
)
def test_a_teacher_whose_licence_may_forbid_it_needs_a_yes(
    hub: Hub, make_bundle: Callable[..., Path], licence: str | None, message: str
) -> None:
    bundle = make_bundle(teachers=[{"spec": "onnx:/x/teacher.onnx?rate=16000", "licence": licence}])
    with pytest.raises(OptionError, match=message):
        push(bundle, "me/levels")
    assert hub.asked == []
    push(bundle, "me/levels", yes=True)
    assert front_matter(next(iter(hub.commits["me/levels"].values()))["README.md"])["license"] in (
        "other",
        "cc-by-nc-sa-4.0",
    )


def test_what_the_hub_refuses_is_a_sentence(hub: Hub, make_bundle, monkeypatch, tmp_path: Path) -> None:
    bundle = make_bundle()
    for name, message in (("levels", "names no repository"), ("me/levels@v1", "give owner/name, its main branch")):
        with pytest.raises(OptionError, match=message):
            push(bundle, name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="is no bundle"):
        push(tmp_path / "empty", "me/levels")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(SondinoError, match="me/levels, or you may not see it"):
        push(bundle, "me/levels")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SondinoError, match=r"there is no token for .*: run `hf auth login`, or set HF_TOKEN"):
        push(bundle, "me/levels")
    assert not hub.commits.get("me/levels")


def test_the_card_is_shown_as_it_is_published(
    hub: Hub, make_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle()
    push(bundle, "me/levels")
    files = hub.commits["me/levels"][hub.branches["me/levels"]["main"]]
    assert published_card(bundle, "me/levels").encode() == files["README.md"]
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["card", str(bundle), "me/levels"])
    assert capsys.readouterr().out.strip() == files["README.md"].decode().strip()


def test_licences_have_the_hubs_names() -> None:
    assert licence_name(["MIT"]) == "mit" and licence_name(["MIT", "MIT (c) X"]) == "mit"
    assert licence_name(["CC BY 4.0", "MIT"]) == licence_name([]) == licence_name(["ours"]) == "other"
    assert licence_name(["weights CC BY-NC-SA 4.0"]) == "cc-by-nc-sa-4.0"

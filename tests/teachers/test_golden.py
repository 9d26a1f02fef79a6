"""MATPAC and M2D against the published implementations, on weights by rule."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import torch

from helpers.golden import error, wave
from helpers.vit_weights import tiny_vit
from helpers.vit_weights import whole_vit as whole
from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import embed_clips
from sondino.errors import EncoderError, OptionError
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.checkpoints import read_state
from sondino.nets.m2d import build as build_m2d
from sondino.nets.matpac import build as build_matpac
from sondino.teachers import load_teacher

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "teachers.npz")
FRAMES = [0, 37, 38, 62]  # the columns kept of `frames`: both sides of where one input ends and the next begins
TOLERANCE = 1e-5  # relative to the largest value; measured: 1.5e-6 and less


def frames(path: Path, build) -> np.ndarray:
    """Of the columns kept: what the encoder takes the mean of."""
    vit, logmel = build(read_state(path), path)
    with torch.inference_mode():
        embedded = vit.encode(FFTLogMel(logmel)(torch.from_numpy(wave(10, 16000))[None]))
    return embedded[:, FRAMES].numpy()


@whole
def test_matpac(matpac_file):
    teacher = load_teacher(f"matpac:{matpac_file}", device="cpu")
    assert (teacher.sample_rate, teacher.dim, teacher.window, teacher.minimum) == (16000, 3840, None, 400)
    for seconds in (10, 3.7, 13):
        assert error(teacher.embed(wave(seconds, 16000)[None]), GOLDEN[f"matpac_emb_{seconds}s"]) < TOLERANCE
    assert error(frames(matpac_file, build_matpac), GOLDEN["matpac_frames"]) < TOLERANCE
    fast = load_teacher(f"matpac:{matpac_file}?mode=fast", device="cpu")
    assert error(fast.embed(wave(10, 16000)[None]), GOLDEN["matpac_emb_10s_fast"]) < TOLERANCE
    assert fast.fingerprint != teacher.fingerprint
    assert "ask the authors" in teacher.notice


@whole
def test_m2d(m2d_file):
    teacher = load_teacher(f"m2d:{m2d_file}", device="cpu")
    assert (teacher.sample_rate, teacher.dim, teacher.window, teacher.minimum) == (16000, 3840, None, 201)
    for seconds in (10, 3.7):
        assert error(teacher.embed(wave(seconds, 16000)[None]), GOLDEN[f"m2d_emb_{seconds}s"]) < TOLERANCE
    assert error(frames(m2d_file, build_m2d), GOLDEN["m2d_frames"]) < TOLERANCE


@whole
def test_both_keep_the_contract(matpac_file, m2d_file):
    for spec in (f"matpac:{matpac_file}", f"m2d:{m2d_file}", f"matpac:{matpac_file}?window=2&hop=1"):
        assert check_encoder(load_teacher(spec, device="cpu")) == [], spec


@whole
def test_windows_of_several_clips_give_what_each_gives_alone(matpac_file):
    clips = [wave(7, 16000, seed) for seed in (1, 2, 3)]
    teacher = load_teacher(f"matpac:{matpac_file}?batch=2", device="cpu")
    together = embed_clips(teacher, clips)
    assert error(together, np.concatenate([teacher.embed(c[None]) for c in clips])) < TOLERANCE


def save(content, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def test_m2d_folder_names_carry_size_patch_and_rate(tmp_path):
    path = save(tiny_vit(frames=8, patch=(16, 4)), tmp_path / "m2d_vit_base-80x32p16x4p32k-240413_enconly" / "w.pth")
    teacher = load_teacher(f"m2d:{path}", device="cpu")
    assert (teacher.sample_rate, teacher.dim) == (32000, 5 * 64)
    assert check_encoder(teacher) == []
    wrong = save(tiny_vit(frames=8), tmp_path / "m2d_vit_base-80x608p16x16-221006" / "w.pth")
    with pytest.raises(EncoderError, match=r"named for 80x608.*holds 80x128"):
        load_teacher(f"m2d:{wrong}", device="cpu")
    bare = save(tiny_vit(), tmp_path / "w.pth")  # a renamed folder: sizes from the tensors, the rate from the option
    assert load_teacher(f"m2d:{bare}?rate=32000", device="cpu").sample_rate == 32000
    assert load_teacher(f"m2d:{bare}", device="cpu").sample_rate == 16000


def test_norm_stats_are_used(tmp_path):
    plain = load_teacher(f"m2d:{save(tiny_vit(), tmp_path / 'a.pth')}", device="cpu")
    default = tiny_vit() | {"norm_stats": torch.tensor([-7.1, 4.2])}
    other = tiny_vit() | {"norm_stats": torch.tensor([-5.0, 2.0])}
    x = wave(1, 16000)[None]
    broken = save(tiny_vit() | {"norm_stats": torch.tensor([-5.0, 0.0])}, tmp_path / "d.pth")
    with pytest.raises(EncoderError, match="no mean and deviation"):
        load_teacher(f"m2d:{broken}", device="cpu")
    same = load_teacher(f"m2d:{save(default, tmp_path / 'b.pth')}", device="cpu")
    different = load_teacher(f"m2d:{save(other, tmp_path / 'c.pth')}", device="cpu")
    assert error(same.embed(x), plain.embed(x)) < 1e-6
    assert error(different.embed(x), plain.embed(x)) > 1e-2


def test_safetensors_and_fine_tuned_names(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    x = wave(1, 16000)[None]
    vectors = []
    safetensors.save_file(tiny_vit("student_encoder."), tmp_path / "m.safetensors")
    vectors.append(load_teacher(f"matpac:{tmp_path / 'm.safetensors'}", device="cpu").embed(x))
    vectors.append(
        load_teacher(f"matpac:{save(tiny_vit('student_encoder.'), tmp_path / 'm.pt')}", device="cpu").embed(x)
    )
    np.testing.assert_array_equal(*vectors)
    tuned = {f"module.ar.runtime.backbone.{k}": v for k, v in tiny_vit().items()} | {"module.head.bias": torch.zeros(3)}
    assert load_teacher(f"m2d:{save(tuned, tmp_path / 't.pth')}", device="cpu").dim == 320


def test_fingerprints_follow_content_and_windows(tmp_path):
    path = save(tiny_vit("student_encoder."), tmp_path / "a.pt")
    first = load_teacher(f"matpac:{path}", device="cpu").fingerprint
    assert load_teacher(f"matpac:{save(tiny_vit('student_encoder.'), tmp_path / 'b' / 'a.pt')}").fingerprint == first
    changed = tiny_vit("student_encoder.")
    changed["cls_token"] += 0.1
    prints = {
        first,
        load_teacher(f"matpac:{save(changed, path)}", device="cpu").fingerprint,
        load_teacher(f"matpac:{path}?window=1", device="cpu").fingerprint,
        load_teacher(f"matpac:{path}?window=1&hop=0.5", device="cpu").fingerprint,
        load_teacher(f"m2d:{save(tiny_vit(), tmp_path / 'c.pt')}", device="cpu").fingerprint,
    }
    assert len(prints) == 5


def test_bad_checkpoints_are_error_messages(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("this ran while the file was read",))

    lacking = tiny_vit("student_encoder.")
    del lacking["student_encoder.blocks.0.attn.qkv.bias"]
    wrong = tiny_vit("student_encoder.") | {"student_encoder.norm.weight": torch.zeros(3)}
    text = tmp_path / "text.pt"
    text.write_text("not a checkpoint")
    flat = tiny_vit("student_encoder.") | {"patch_embed.proj.weight": torch.zeros(3)}
    cases = {
        save({"model": tiny_vit(), "x": Evil()}, tmp_path / "evil.pt"): (OptionError, "asks to use builtins.print"),
        save(lacking, tmp_path / "lacking.pt"): (EncoderError, "lacks 1 tensors .* such as blocks.0.attn.qkv.bias"),
        save(wrong, tmp_path / "wrong.pt"): (EncoderError, r"norm.weight is \(3,\), not \(64,\)"),
        save(flat, tmp_path / "flat.pt"): (EncoderError, "are not those of such a ViT"),
        save({"a": torch.zeros(3)}, tmp_path / "other.pt"): (EncoderError, "has no cls_token"),
        save([1, 2], tmp_path / "list.pt"): (OptionError, "no state dict"),
        text: (OptionError, "text.pt"),
    }
    for path, (kind, message) in cases.items():
        with pytest.raises(kind, match=message):
            load_teacher(f"matpac:{path}", device="cpu")


def test_bad_checkpoints_run_nothing(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("this ran while the file was read",))

    with pytest.raises(OptionError):
        load_teacher(f"m2d:{save(Evil(), tmp_path / 'evil.pt')}", device="cpu")
    assert capsys.readouterr().out == ""

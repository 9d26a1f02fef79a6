"""Agreement with the reference implementation, as tests/data/pretrain.npz holds its outputs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.pretraining import CONFIG, KINDS, golden, model, off, one_pass, schedule, sizes
from sondino.frontend.logmel import MATPAC_LOGMEL
from sondino.nets import matpac
from sondino.pretraining import losses
from sondino.pretraining import model as nets
from sondino.pretraining.losses import class_probabilities, distances, hypothesis_weights, next_centre
from sondino.pretraining.masks import count_visible, mask_noise, sincos_positions, split_patches
from sondino.pretraining.model import Pretrainer
from sondino.pretraining.result import encoder_tensors
from sondino.pretraining.schedules import PUBLISHED_UPDATES, make_schedule
from sondino.pretraining.statistics import describe_pass
from sondino.pretraining.train import make_optimizer, take_step

CLOSE = 1e-5
KIND = pytest.mark.parametrize("kind", KINDS)


def test_masks() -> None:
    arrays = golden()
    noise = torch.from_numpy(arrays["mask/noise"])
    visible, masked = split_patches(noise, int(arrays["mask/keep"]))
    order = torch.cat([visible, masked], dim=1).numpy()
    assert (order == arrays["mask/order"]).all()
    assert visible.shape[1] == 57


def test_how_many_patches_stay_visible() -> None:
    for patches, ratio, visible in golden()["mask/keep_table"]:
        assert count_visible(int(patches), float(ratio)) == int(visible)


def test_positions() -> None:
    arrays = golden()
    for name, grid, width in (("encoder_128_5x13", (5, 13), 128), ("decoder_64_5x13", (5, 13), 64)):
        assert np.allclose(sincos_positions(grid, width), arrays[f"pos/{name}"], atol=1e-7)
    for name, width in (("encoder_768_5x38_rows", 768), ("decoder_512_5x38_rows", 512)):
        table = sincos_positions((5, 38), width)[arrays["pos/rows"]]
        assert np.allclose(table, arrays[f"pos/{name}"], atol=1e-6)


def test_schedules_at_the_published_length() -> None:
    arrays = golden()
    plan = make_schedule(PUBLISHED_UPDATES, 3e-4, published=True)
    for place, update in enumerate(arrays["schedule/updates"].tolist()):
        expected = {name: arrays[f"schedule/{name}"][place] for name in ("encoder_decay", "head_decay")}
        if update < PUBLISHED_UPDATES:
            assert plan.learning_rate(update) == pytest.approx(arrays["schedule/lr"][place], rel=1e-6, abs=1e-12)
        assert plan.teacher_at(update) == pytest.approx(arrays["schedule/teacher_temperature"][place], rel=1e-6)
        assert plan.hypotheses_at(update) == pytest.approx(arrays["schedule/wta_temperature"][place], rel=1e-6)
        assert plan.decays(update) == pytest.approx(tuple(expected.values()), rel=1e-9)


@KIND
def test_one_pass(kind: str) -> None:
    arrays, net = golden(), model(kind)
    logmel, noise = (torch.from_numpy(arrays[f"{kind}/{name}"]) for name in ("logmel", "noise"))
    visible, masked = split_patches(noise, 19)
    assert (visible.numpy() == arrays[f"{kind}/visible"]).all()
    assert (masked.numpy() == arrays[f"{kind}/masked"]).all()
    tokens = net.tokens(logmel)
    seen = net.encode(nets.take(tokens, visible), net.student_encoder)
    hidden = net.encode(nets.take(tokens, masked), net.teacher_encoder)
    predicted = net.predict(seen, visible, masked)
    for name, found in {
        "tokens": tokens, "z_v": seen, "z_m": hidden, "decoded": net.decoder(seen, visible), "predicted": predicted,
    }.items():  # fmt: skip
        assert off(found, arrays[f"{kind}/{name}"]) < CLOSE, name
    found = one_pass(net, kind)
    assert off(found.classification, arrays[f"{kind}/loss_cls"]) < CLOSE
    assert found.mean is not None
    assert off(next_centre(net.center, found.mean), arrays[f"{kind}/center_after"]) < CLOSE
    assert net.cls_teacher_head is not None
    logits = net.cls_teacher_head(hidden[:, 1:])
    assert off(logits, arrays[f"{kind}/teacher_logits"]) < CLOSE
    for temperature in (0.04, 0.055, 0.07):
        probabilities = class_probabilities(logits, net.center, temperature)
        assert off(probabilities, arrays[f"{kind}/teacher_prob_{temperature}"]) < CLOSE


def test_the_centre_of_logits() -> None:
    net = model("pp", "logits")
    found = one_pass(net, "pp")
    assert found.mean is not None
    assert off(next_centre(net.center, found.mean), golden()["pp/center_after_logits"]) < CLOSE


def test_hypotheses() -> None:
    arrays, net = golden(), model("pp")
    for place, temperature in enumerate(arrays["pp/temperatures"].tolist()):
        found = one_pass(net, "pp", temperature)
        assert found.weights is not None and found.best is not None
        assert off(found.prediction, arrays[f"pp/loss_pred_{place}"]) < CLOSE
        assert off(found.weights, arrays[f"pp/weights_{place}"]) < 5e-5
        assert (found.best.numpy() == arrays["pp/best"]).all()
    distance = torch.from_numpy(arrays["pp/distances"])
    assert off(hypothesis_weights(distance, 1e-4), arrays["pp/weights_6"]) == 0


@KIND
@pytest.mark.parametrize(("weights", "which"), [((0.5, 0.5), "both"), ((1.0, 0.0), "pred"), ((0.0, 1.0), "cls")])
def test_totals_and_gradients(kind: str, weights: tuple[float, float], which: str) -> None:
    assert gradients_off(kind, weights, which) < CLOSE


def gradients_off(kind: str, weights: tuple[float, float] = (0.5, 0.5), which: str = "both") -> float:
    """How far a total, the norms of its gradients and the gradients in full are from the reference's."""
    arrays, net = golden(), model(kind)
    found = one_pass(net, kind)
    assert found.classification is not None
    total = weights[0] * found.prediction.mean() + weights[1] * found.classification.mean()
    far = [off(total, arrays[f"{kind}/total_{which}"])]
    total.backward()
    trained = dict(net.named_parameters())
    expected = dict(zip(arrays[f"{kind}/names"].tolist(), arrays[f"{kind}/grad_norms_{which}"].tolist(), strict=True))
    names = [name for name in expected if name in trained and expected[name] >= 0]
    norms = [trained[name].grad.norm().item() if trained[name].grad is not None else -1.0 for name in names]
    far.append(off(norms, [expected[name] for name in names]))
    if which == "both":
        for name in (name for name in arrays if name.startswith(f"{kind}/grad/")):
            far.append(off(trained[name.split("/grad/")[1]].grad, arrays[name]))
    return max(far)


def test_what_gets_no_gradient() -> None:
    net = model("pp")
    one_pass(net, "pp").prediction.mean().backward()
    head = net.cls_student_head
    assert head is not None and all(weight.grad is None for weight in head.parameters())
    assert all(weight.grad is None for weight in net.teacher_encoder.parameters())


def test_statistics() -> None:
    net = model("pp")
    described = describe_pass(one_pass(net, "pp"))
    arrays = golden()
    best = arrays["pp/best"]
    assert described["wins_2"] == pytest.approx((best == 2).mean(), abs=1e-6)
    assert described["classes"] == int(arrays["pp/distinct_targets"])
    assert described["perplexity"] == pytest.approx(float(arrays["pp/perplexity"]), rel=1e-4)


@KIND
def test_six_updates(kind: str) -> None:
    found = trace_off(kind)
    assert max(found.values()) < CLOSE, found


def trace_off(
    kind: str, step: Callable[..., None] = take_step, centre: nets.Centre = "probabilities"
) -> dict[str, float]:
    """How far six updates are from the reference's, by what is compared."""
    arrays, net, plan = golden(), model(kind, centre), schedule()
    net.center.zero_()
    optimizer = make_optimizer(net, CONFIG["weight_decay"])
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    trace = f"trace_{kind}/"
    far: dict[str, float] = {}

    def compare(name: str, found: Any, expected: Any) -> None:
        far[name] = max(far.get(name, 0.0), off(found, expected))

    for update in range(CONFIG["updates"]):
        inputs = np.random.default_rng(100 + update).standard_normal((2, 80, 208)).astype(np.float32)
        noise = mask_noise((2, 65), 1337 + update)
        assert (noise.numpy() == arrays[trace + "noise"][update]).all()
        compare("rate", plan.learning_rate(update), arrays[trace + "lr"][update])
        if update:
            compare("centre", net.center.clone(), arrays[trace + "center"][update])
        found = net(torch.from_numpy(inputs), noise, 19, plan.teacher_at(update), plan.hypotheses_at(update))
        loss = 0.5 * found.prediction.mean() + 0.5 * found.classification.mean()
        loss.backward()
        compare("loss", loss, arrays[trace + "loss"][update])
        norm = torch.nn.utils.clip_grad_norm_(weights, float(arrays[trace + "clip_norm"]))
        compare("gradient", norm, arrays[trace + "grad_norm"][update])
        step(net, optimizer, plan, update, found.mean, True)
        state = net.state_dict()
        for name, prefix, names in (
            ("student", "", f"{kind}/names"),
            ("teacher", "teacher_encoder.", "teacher_encoder_names"),
            ("head", "cls_teacher_head.", "teacher_head_names"),
        ):
            norms = dict(zip(arrays[names].tolist(), arrays[f"{trace}{name}_norms"][update].tolist(), strict=True))
            own = [part for part in norms if prefix + part in state]
            compare(name, [state[prefix + part].norm().item() for part in own], [norms[part] for part in own])
        for whole in (whole for whole in arrays if whole.startswith(f"{trace}after{update}/")):
            compare("tensors", state[whole.split("/", 2)[2]], arrays[whole])
    for whole in (whole for whole in arrays if whole.startswith(f"{trace}end/")):
        compare("tensors", net.state_dict()[whole.split("/", 2)[2]], arrays[whole])
    return far


def test_the_encoder_alone_gives_the_same_columns() -> None:
    arrays, net = golden(), model("pp")
    vit, logmel = matpac.build(encoder_tensors(net, (-3.0, 2.0)), matpac.Path("encoder.safetensors"))
    assert logmel == replace(MATPAC_LOGMEL, mean=-3.0, std=2.0)
    inputs = torch.from_numpy(arrays["pp/logmel"])
    assert off(vit.encode(inputs), arrays["export/columns_full"]) < CLOSE
    assert off(vit.encode(inputs[:, :, :64]), arrays["export/columns_short"]) < CLOSE


# ---- mistakes that these tests must find ------------------------------------------------------------------------


def test_a_centre_of_logits_is_found() -> None:
    assert trace_off("pp", centre="logits")["centre"] > 0.1


def test_a_teacher_that_moves_before_the_loss_is_found() -> None:
    def early(net: Pretrainer, optimizer: Any, plan: Any, update: int, mean: Any, published: bool) -> None:
        take_step(net, optimizer, plan, update, mean, False)

    assert trace_off("pp", step=early)["teacher"] > 1e-3


def test_masked_patches_in_the_student_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_patches

    def all_visible(noise: torch.Tensor, visible: int) -> tuple[torch.Tensor, torch.Tensor]:
        return noise.argsort(dim=1), split(noise, visible)[1]

    monkeypatch.setattr(nets, "split_patches", all_visible)
    assert gradients_off("pp") > 1e-2


def test_averaged_hypotheses_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def uniform(distance: torch.Tensor, temperature: float) -> torch.Tensor:
        return torch.full_like(distance, 1 / distance.shape[-1])

    monkeypatch.setattr(nets, "hypothesis_weights", uniform)
    assert gradients_off("pp") > 1e-3


def test_weights_that_carry_gradient_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "hypothesis_weights", lambda d, t: torch.softmax(-d / t, dim=-1))
    assert gradients_off("pp") > 1e-2


def test_a_wrong_decay_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    average = Pretrainer.average
    monkeypatch.setattr(Pretrainer, "average", lambda self, encoder, head: average(self, head, encoder))
    assert trace_off("mp")["teacher"] > 1e-3


def test_targets_get_no_gradient_and_distances_are_of_unit_length() -> None:
    target = torch.randn(2, 3, 8, requires_grad=True)
    predicted = torch.randn(2, 3, 8, requires_grad=True)
    found = distances(target, predicted)
    found.sum().backward()
    assert target.grad is None and predicted.grad is not None
    expected = (
        (target / target.norm(dim=-1, keepdim=True) - predicted / predicted.norm(dim=-1, keepdim=True)) ** 2
    ).sum(-1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert losses.HARD == 1e-4 and sizes("pp").hypotheses == 5

"""Model cards of distilled and of converted models."""

import re
from typing import Any

from sondino.model.card import card

COMMON: dict[str, Any] = {
    "name": "mine",
    "student": "mobilenetv3",
    "width": 0.5,
    "dim": 480,
    "window": 10.0,
    "sample_rate": 32000,
    "short": "pad",
    "parameters": 785592,
    "macs_per_10s": 1.2e8,
    "onnx_difference": 2e-7,
    "hashes": {"model.onnx": "ab" * 32},
}
TEACHER = {"spec": "birdnet", "dim": 1024, "sample_rate": 48000, "licence": "CC BY-NC-SA 4.0"}


def test_a_distilled_model_names_teacher_data_and_scores() -> None:
    config = {**COMMON, "teachers": [TEACHER], "data": {"clips": 130}, "scores": {"validation_cosine": 0.84}}
    text = card(config, 3_400_000)
    for part in (
        "# mine",
        "distilled with sondino",
        "| parameters | 785,592 |",
        "3.4 MB",
        "- `birdnet`: 1024 dimensions at 48000 Hz. Licence of its weights: CC BY-NC-SA 4.0.",
        "clips: 130",
        "| validation cosine | 0.84 |",
        f"- model.onnx: `{'ab' * 32}`",
    ):
        assert part in text, part
    assert "## Source" not in text and "## Head" not in text


def test_scores_of_few_clips_are_said_to_be_so() -> None:
    score = {"clips": 12, "interval95": [0.3, 0.9], "chance": 0.5}
    scored = {**COMMON, "scores": {"head": "accuracy 60.0 %"}, "data": {"held_out": 3}, "head_score": score}
    text = card({**scored, "teachers": [TEACHER]}, 1)
    for part in (
        "Of the head: 12 scored clips are few: differences of several points may be chance.",
        "Of the head: it cannot be distinguished from chance.",
        "Of the distillation: 3 held-out clips are few",
    ):
        assert part in text, part
    more = {"head_score": {**score, "clips": 80, "interval95": [0.6, 0.9]}, "data": {"held_out": 80}}
    assert "Of the" not in card({**scored, **more, "teachers": [TEACHER]}, 1)


def test_a_converted_model_names_its_source_and_does_not_claim_to_be_distilled_here() -> None:
    source = {"kind": "efficientat", "file": "mn05_as.pt", "sha256": "cd", "url": None, "licence": "MIT", "dropped": []}
    head = {"name": "audioset", "labels": [f"label {i}" for i in range(527)], "multi_label": True, "note": "in order"}
    text = card({**COMMON, "source": source, "teachers": [], "head": head}, 1)
    assert "converted with sondino" in text and "distilled" not in text
    assert "`mn05_as.pt`, SHA-256 `cd`" in text and "| licence of its weights | MIT |" in text
    assert "527, a probability each: label 0, " in text and "and 515 more" in text and "model.classify(" in text
    for absent in ("None", "## Teachers", "## Data", "held-out", "left out"):
        assert absent not in text, absent


def test_an_unknown_teacher_is_listed_as_unknown() -> None:
    source = {"kind": "ssondo", "file": "x.ckpt", "sha256": "cd", "licence": None, "dropped": ["the mapping head"]}
    text = card({**COMMON, "source": source, "teachers": [{"spec": "unknown", "licence": None, "dim": 3840}]}, 1)
    assert "- `unknown`: 3840 dimensions. Licence of its weights: not known to sondino" in text
    assert "| left out | the mapping head |" in text and "| licence of its weights | not known to sondino" in text


def test_names_and_licences_are_no_markup() -> None:
    evil = "<script>*x*</script> [a](b) `c`\n# d |"
    source = dict.fromkeys(("kind", "file", "sha256", "url", "licence"), evil) | {"dropped": [evil]}
    head = {"name": evil, "labels": [evil], "multi_label": True, "note": evil}
    teachers = [{"spec": evil, "licence": evil}]
    changed = {"name": evil, "teachers": teachers, "source": source, "head": head, "scores": {evil: evil}}
    text = card({**COMMON, **changed, "data": {evil: evil}, "hashes": {evil: evil}}, 1)
    outside = re.sub(r"(`+) .*? \1(?!`)", "", text)  # code is shown as it is
    assert not re.search(r"(?<!\\)(<script|\*x|\[a|`c)|^# d", outside, re.M)
    assert outside.splitlines()[0] == r"# \<script>\*x\*\</script> \[a\](b) \`c\`\\x0a# d |"

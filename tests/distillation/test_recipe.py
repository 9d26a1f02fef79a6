import math
from pathlib import Path

import pytest

from sondino.distillation.recipe import Recipe, fully_resolved, resolve_recipe, write_recipe
from sondino.errors import OptionError
from sondino.frontend.logmel import STUDENT_LOGMEL

PRETRAINING = {"matpac", "matpac++", "tiny-cpu"}
"""Recipes of another training, which tests/test_recipes.py reads."""
FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = [file for file in sorted(FOLDER.glob("*.yaml")) if file.stem not in PRETRAINING]


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_every_recipe_in_the_folder_is_valid_and_the_published_ones_compare_embeddings_as_they_are(file: Path) -> None:
    recipe = resolve_recipe(file)
    if file.stem.startswith("sondino-small"):  # in two parts
        least = {"sondino-small": 3_000_000, "sondino-small-2": 1_900_000}[file.stem]
        assert recipe.standardise and recipe.epochs * recipe.draws >= least
    else:
        assert recipe.lr == 8e-4 and (not recipe.standardise or recipe.label_weight == 1)


def test_the_six_published_pairs_are_shipped() -> None:
    pairs = {f"{t}-{s}" for t in ("matpac", "m2d") for s in ("mobilenetv3", "dymn", "eres2net")}
    assert pairs <= {f.stem for f in RECIPES}


def test_published_schedule() -> None:
    recipe = resolve_recipe(RECIPES[0])
    assert recipe.learning_rate(0) == pytest.approx(8e-4 * math.exp(-5 * (1 - 0.5 / 8) ** 2))
    assert recipe.learning_rate(4) == pytest.approx(8e-4 * math.exp(-5 * 0.25))
    assert recipe.learning_rate(8) == recipe.learning_rate(80) == pytest.approx(8e-4)
    assert recipe.learning_rate(90) == pytest.approx(8e-4 * (1 - 0.99 * 10 / 95))
    assert recipe.learning_rate(175) == recipe.learning_rate(500) == pytest.approx(8e-6)


def test_default_schedule_fits_any_number_of_epochs() -> None:
    for epochs in (1, 10, 1000):
        recipe = Recipe(teacher=("birdnet",), epochs=epochs)
        assert recipe.learning_rate(epochs) == pytest.approx(8e-6)
        assert max(recipe.learning_rate(epochs * i / 100) for i in range(100)) <= 8e-4


def test_no_is_a_word_where_it_is_a_choice(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("teacher: birdnet\nkeep_labels: no\n")  # which YAML reads as false
    assert resolve_recipe(tmp_path / "r.yaml").keep_labels == "no"
    with pytest.raises(OptionError, match="precision"):
        resolve_recipe({"teacher": "birdnet", "precision": False})


def test_weights_and_the_place_of_a_teacher_are_read_from_text_and_yaml(tmp_path: Path) -> None:
    both = {"teacher": ("a", "b")}
    expected = Recipe(teacher=("a", "b"), teacher_weight=(2.0, 0.5), cluster_on="2")
    assert resolve_recipe(both, teacher_weight="2,0.5", cluster_on=2) == expected
    (tmp_path / "r.yaml").write_text("teacher: [a, b]\nteacher_weight: [2, 0.5]\ncluster_on: 2\n")
    assert resolve_recipe(tmp_path / "r.yaml") == expected
    write_recipe(expected, tmp_path / "w.yaml")
    assert resolve_recipe(tmp_path / "w.yaml") == expected
    assert resolve_recipe({"teacher": "a", "teacher_weight": 3}).teacher_weight == (3.0,)


def test_options_win_over_the_file_and_none_does_not(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("teacher: birdnet\nepochs: 7\nclip: 3\nlr: 1e-3\n")
    recipe = resolve_recipe(file, epochs=9, width=None)
    assert (recipe.epochs, recipe.clip, recipe.width, recipe.lr) == (9, 3.0, 1.0, 1e-3)
    assert recipe.teacher == ("birdnet",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "did you mean epochs"),
        ({"student": "mobilnet"}, "did you mean mobilenetv3"),
        ({"loss": "cosin"}, "did you mean cosine"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "give a whole number"),
        ({"epochs": True}, "give a whole number"),
        ({"width": -1}, "width is -1"),
        ({"width": 20}, "give a number, 8 or less"),
        ({"clip": float("inf")}, "clip is inf: give a number, 600 or less"),
        ({"seed": 5_000_000_000}, "seed is 5000000000"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"validation": 1.5}, "give a number, 1 or less"),
        ({"views": -2}, "0 or more"),
        ({"draws": 0}, "draws is 0"),
        ({"spec_augment": "yes"}, "give true or false"),
        ({"teacher": ()}, "no teacher named"),
        ({"teacher_weight": "2,1"}, "teacher_weight has 2 weights for 1 teachers: give one for each"),
        ({"teacher": ("a", "b"), "teacher_weight": [1]}, "has 1 weights for 2 teachers"),
        ({"teacher": ("a", "b"), "teacher_weight": "2,0"}, "teacher_weight holds 0: each weight must be above 0"),
        ({"teacher_weight": float("nan")}, "teacher_weight holds nan"),
        ({"teacher_weight": "heavy"}, "teacher_weight is 'heavy': give a number for each teacher"),
        ({"teacher_weight": [[1]]}, "give a number for each teacher"),
        ({"cluster_on": 2}, r"cluster_on is '2': give the place of a teacher \(1\), or all"),
        (
            {"teacher": ("a", "b"), "cluster_on": "b"},
            r"cluster_on is 'b': give the place of a teacher \(1, 2\), or all",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        resolve_recipe({"teacher": "birdnet"} | values)


TEACHER = "teacher: x\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEACHER + "5: 3\n", "unknown recipe entry '5'"),
        (TEACHER + "~: 3\n", "unknown recipe entry 'None'"),
        ("teacher: 5\n", "teacher is 5: give a list"),
        ("teacher:\n", "teacher is None: give a list"),
        ("teacher: [1]\n", r"teacher\[0\] is 1: give text"),
        (TEACHER + "epochs: 2001-99-99\n", "not valid YAML: month must be in 1..12"),
        (TEACHER + "epochs: 2001-01-01\n", "epochs is datetime"),
        (TEACHER + "epochs: !!int abc\n", "not valid YAML: invalid literal"),
        (TEACHER + "spec_augment: !!bool abc\n", "not valid YAML"),
        (TEACHER + "seed: !!timestamp abc\n", "not valid YAML"),
        (TEACHER + "epochs: " + "1" * 5000, "not valid YAML: Exceeds the limit"),
        (TEACHER + "epochs: " + "[" * 3000, "not valid YAML: "),
        (TEACHER + "lr: .nan\n", "lr is nan: give a number, above 0"),
        (TEACHER + "warmup: [1]\n", r"warmup is \[1\]: give a number or nothing"),
        ("a: &a [1]\nteacher: [*a, *a]\n", "it has aliases"),
        (TEACHER + "init: 3\n", "init is 3: give text or nothing"),
        (TEACHER + "mapping: 3\n", "unknown value of mapping: '3'"),
        (TEACHER + "student: [a]\n", "unknown student"),
        ("# " + "x" * (1 << 20), "over 1048576 bytes"),
    ],
)
def test_a_recipe_that_cannot_be_gets_a_message(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(OptionError, match=message):
        resolve_recipe(tmp_path / "r.yaml")


def test_a_recipe_in_another_encoding_gets_a_message(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes("teacher: ä".encode("latin1"))
    with pytest.raises(OptionError, match=r"r\.yaml is not valid YAML: 'utf-8' codec"):
        resolve_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1", ""])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(OptionError, match=r"r\.yaml"):
        resolve_recipe(tmp_path / "r.yaml")
    with pytest.raises(OptionError, match=r"gone\.yaml cannot be read"):
        resolve_recipe(tmp_path / "gone.yaml")


def test_a_written_recipe_reads_back_and_leaves_nothing_open(tmp_path: Path) -> None:
    asked = Recipe(teacher=("a", "b"), lr=1e-5, epochs=50)
    recipe = fully_resolved(asked, 200_000, "float32", STUDENT_LOGMEL)
    assert None not in (recipe.rate, recipe.hop, recipe.draws, recipe.warmup, recipe.rampdown_start, recipe.rampdown)
    assert (recipe.draws, recipe.warmup, recipe.precision) == (100_000, 4.0, "float32")
    assert all(recipe.learning_rate(e) == pytest.approx(asked.learning_rate(e)) for e in (0, 3, 20, 49.5))
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert resolve_recipe(tmp_path / "recipe.yaml") == recipe


def test_of_an_initial_bundle_student_and_width_are_taken_where_they_are_not_given(tmp_path: Path) -> None:
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    (tmp_path / "run" / "bundle" / "config.json").write_text('{"student": "dymn", "width": 0.3, "dim": 288}')
    run = str(tmp_path / "run")
    found = resolve_recipe(teacher="x", init=run)
    assert (found.student, found.width, found.init) == ("dymn", 0.3, run)
    assert resolve_recipe({"teacher": "x", "init": run + "/bundle", "width": 1}).width == 1.0
    checkpoint = resolve_recipe(teacher="x", init=str(tmp_path / "mn10_im.pt"))
    assert (checkpoint.student, checkpoint.width) == ("mobilenetv3", 1.0)

"""The words check refuses what has a standard term, in prose and in names, and nothing else."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_words.py"


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_words", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "text", "line", "word"),
    [
        ("a.md", "A clip\nis heard.\n", 2, "heard"),
        ("a.md", "its own\nlength, at their own\nlength", 2, "at their own\nlength"),
        ("a.md", "| model | of the teacher |\n", 1, "| of the teacher |"),
        ("a.md", "# Title\n\n## Fewer filters\n", 3, "# Fewer filters"),
        ("a.py", '"""One line.\n\nThe vectors.\n"""\n', 3, "vectors"),
        ("a.py", "x = 1  # told later\n", 1, "told"),
        ("a.py", 'raise E(f"{x} holds no sentence")\n', 1, "sentence"),
        ("a.py", 'f"{x} was heard {y}"\n', 1, "heard"),
        ("a.py", "def _on_heard(): ...\n", 1, "heard"),
        ("a.py", "class Sounds: ...\n", 1, "sounds"),
        ("a.py", "class A:\n    lessons: int\n", 2, "lessons"),
        ("a.py", "class A:\n    def b(self):\n        self.merit = 1\n", 3, "merit"),
        ("a.py", "STRENGTHS = ()\n", 1, "strengths"),
        ("a.py", "def part(x): ...\n", 1, "part"),
        ("a.pyi", "def hears() -> int: ...\n", 1, "hears"),
        ("a.ts", "/** A line.\n * What it hears. */\nlet x = 1;\n", 2, "hears"),
        ("a.py", "def f():\n    heard = 1\n", 2, "heard"),
        ("a.py", "def f(told):\n    pass\n", 1, "told"),
        ("a.py", "MOST, LONGEST = 1, 2\n", 1, "longest"),
        ("a.ts", "export function onHeard(): void {}\n", 1, "heard"),
        ("a.ts", "const x = `Hearing ${heard} %`;\n", 1, "Hearing"),
        ("a.ts", "class A {\n  tells(): void {\n  }\n}\n", 2, "tells"),
        ("a.html", '<p id="heard">\nNothing heard yet</p>', 2, "heard"),
        ("a.html", '<canvas aria-label="Nothing heard yet">', 1, "heard"),
        ("a.yaml", "a: 1\n# matpac taught to dymn\n", 2, "taught"),
    ],
)
def test_a_refused_word_is_found(words: ModuleType, tmp_path: Path, name: str, text: str, line: int, word: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert [(found.line, found.word) for found in words.check(file)] == [(line, word)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "The key `vectors`, HEAR and `sondino.hear`; hear-eval.\n\n```\nheard\n```\n<!-- told -->\n"),
        ("a.md", "[a link](heard.md#told), part of the whole, about the teacher, cut into windows"),
        ("a.py", 'np.savez(file, vectors=x)\nx["vector"]\n'),
        ("a.py", "def f():\n    longest = 1\n"),  # plain English inside a function
        ("a.py", 'def f():\n    """Doc.\n\n    >>> heard(1)\n    """\n'),
        ("a.py", 'f"{heard} was decoded"\n'),
        ("a.py", "class A:\n    part: int\n"),
        ("a.ts", 'const vector = results["vector"];\n'),
        ("a.ts", 'const q = /["]/.test(x);\nconst text = `{"vector": ${vector}}`;\n'),
        ("a.html", '<p id="vector">Embedding</p><script>heard()</script>'),
        ("a.yaml", "told: heard\n"),
    ],
)
def test_other_words_pass(words: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "table.csv").write_text("heard\n")
    assert words.files([tmp_path]) == [tmp_path / name]
    assert list(words.check(tmp_path / name)) == []


def test_the_command_prints_place_word_and_better_word(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("A clip\nis heard.\n")
    run = subprocess.run([sys.executable, SCRIPT, "--roots", tmp_path], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith(f"{tmp_path / 'page.md'}:2: 'heard': write process, embed")
    (tmp_path / "page.md").write_text("A clip\nis decoded.\n")
    assert subprocess.run([sys.executable, SCRIPT, "--roots", tmp_path]).returncode == 0

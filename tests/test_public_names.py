import ast
import inspect
import pydoc
import re
import rlcompleter
import subprocess
import sys
import types
from pathlib import Path

import pytest

import sondino
import sondino.corpus

FACE = {
    "use": (
        "load Model Encoder Head check_encoder embed_files embed_stream classify_files detect_files find_similar "
        "build_index SondinoEmbedder"
    ),
    "make": "load_teacher pretrain distill finetune convert prune quantize export push",
    "measure": "evaluate compare probe bench report",
    "list": "list_models list_students list_teachers list_tasks",
    "about": "SondinoError __version__",
}
CORPUS = {"build_corpus", "open_corpus", "compute_targets", "fit_clusters"}
FUNCTIONS = [(sondino, name) for name in sondino.__all__] + [(sondino.corpus, name) for name in sondino.corpus.__all__]
PACKAGE = Path(inspect.getfile(sondino)).parent


def test_the_public_names_are_these() -> None:
    names = " ".join(FACE.values()).split()
    assert sondino.__all__ == names and dir(sondino) == sorted(names)
    assert set(sondino.corpus.__all__) == set(dir(sondino.corpus)) == CORPUS


def test_the_stubs_name_the_same_modules() -> None:
    for module in (sondino, sondino.corpus):
        stub = ast.parse(Path(inspect.getfile(module)).with_suffix(".pyi").read_text())
        imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
        named = {alias.asname: node.module for node in imports for alias in node.names}
        assert named == {name: f"{module.__name__}.{home}" for name, home in module._MODULES.items()}


@pytest.mark.parametrize(("module", "name"), FUNCTIONS, ids=lambda given: getattr(given, "__name__", given))
def test_every_public_name_is_there_and_documented(module: types.ModuleType, name: str) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    found = getattr(module, name)
    assert not inspect.ismodule(found)
    if inspect.isfunction(found):
        documentation = inspect.getdoc(found) or ""
        parameters = set(inspect.signature(found).parameters)
        described = set(re.findall(r"^    (\w+): ", documentation, re.M))
        assert parameters <= described, f"{name} does not describe {sorted(parameters - described)}"


def test_help_and_completion_list_the_public_names() -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    text = pydoc.plain(pydoc.render_doc(sondino))
    public = [name for name in sondino.__all__ if name != "__version__"]
    assert not [name for name in public if not re.search(rf"\b{name}\b", text)]
    completed = rlcompleter.Completer({"sondino": sondino}).attr_matches("sondino.embed_")
    assert [name.rstrip("()") for name in completed] == ["sondino.embed_files", "sondino.embed_stream"]
    documented = re.findall(r"\w+", inspect.getdoc(sondino) or "")
    assert not set(public) - set(documented)


def test_no_name_is_both_a_package_and_a_function() -> None:
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert not modules & set(sondino.__all__)


def test_no_file_of_the_package_imports_the_face() -> None:
    lines = [line for file in PACKAGE.rglob("*.py") for line in file.read_text().splitlines()]
    assert not [line for line in lines if re.match(r"\s*(import sondino$|import sondino as|from sondino import)", line)]


def test_an_unknown_name_is_an_attribute_error() -> None:
    for module in (sondino, sondino.corpus):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
            module.nothing  # noqa: B018


def test_corpus_is_imported_without_tables_and_models() -> None:
    code = "import sys, sondino.corpus; assert not {'numpy', 'pyarrow', 'sklearn', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

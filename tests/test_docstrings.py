"""The example in each public docstring runs, in a folder with the files that the examples name."""

import doctest
import shutil
import types
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import sondino
import sondino.corpus
from helpers.published import write_efficientat
from helpers.tiny_bundle import write_tiny_bundle
from sondino.sample_sounds import sample_folder

NAMES = [(sondino, name) for name in sondino.__all__ if name != "__version__"]
NAMES += [(sondino.corpus, name) for name in sondino.corpus.__all__]
LONG = ("convert", "export", "prune", "quantize")
"""These trace or run a network of their own, which takes ten seconds."""
LABELLED = {
    "bass": ("bass_dnb_f", "bass_hit_c", "bass_voxy_hit_c", "bass_hard_c"),
    "drum": ("drum_bass_soft", "drum_cowbell", "drum_snare_soft", "drum_heavy_kick"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, student_bundle: Path) -> Path:
    place = tmp_path_factory.mktemp("examples")
    shutil.copytree(student_bundle, place / "run" / "bundle")
    shutil.copy(write_tiny_bundle(place / "tiny") / "model.onnx", place / "teacher.onnx")
    write_efficientat(place / "mn01_as.pt", "mobilenetv3", 0.1)
    for label, clips in LABELLED.items():
        for clip in clips:
            for folder in (place / "labelled" / label, place / "recordings"):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(sample_folder() / "audio" / f"{clip}.ogg", folder)
    return place


@pytest.fixture
def no_int8_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for layers to quantise, which runs the net some hundred times, finds none."""
    from sondino.exporters.int8_layers import Int8

    monkeypatch.setattr("sondino.exporters.quantize.quantized", lambda net, *_: Int8(net, (), 1, 0, 0, 1.0))


@pytest.mark.usefixtures("traced_once", "assumed_energy", "no_int8_search")
@pytest.mark.parametrize(
    ("module", "name"),
    [pytest.param(*pair, marks=[pytest.mark.full] if pair[1] in LONG else []) for pair in NAMES],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_the_example_of_a_docstring_runs(
    module: types.ModuleType, name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    finder = doctest.DocTestFinder(recurse=False)
    (found,) = finder.find(getattr(module, name), name, module=False, globs={"sondino": sondino})
    assert found.examples, f"the docstring of {name} has no example"
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(found, out=printed.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(printed)

"""What is measured: bundles, exports and other models by name, and the runtimes installed here that can run each."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sondino.errors import OptionError, unknown_name
from sondino.files import read_json, sha256
from sondino.locks import restore
from sondino.model.bundle import EXPORT_FORMAT
from sondino.nets.registry import STUDENTS
from sondino.runtimes import import_openvino
from sondino.teachers.spec import TeacherSpec, kind_of, parse_teacher


@dataclass(frozen=True)
class Runtime:
    """A runtime for models.

    Attributes:
        name: as `--runtime` takes it.
        module: what a process imports first; empty: nothing beyond the base install.
        package: its distribution, whose version is recorded.
        install: the command that installs it.
        edge: the environment of `make edge` that has it, where it has one.
    """

    name: str
    module: str
    package: str
    install: str
    edge: str = ""


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime("onnxruntime", "onnxruntime", "onnxruntime", "pip install onnxruntime"),
        Runtime("onnxruntime-graph", "onnxruntime", "onnxruntime", "pip install onnxruntime"),
        Runtime("openvino", "openvino", "openvino", "pip install 'sondino[openvino]'"),
        Runtime("openvino-graph", "openvino", "openvino", "pip install 'sondino[openvino]'"),
        Runtime("torch", "torch", "torch", "pip install 'sondino[train]'"),
        Runtime("executorch", "executorch.extension.pybindings.portable_lib", "executorch", "make edge", "executorch"),
        Runtime("litert", "ai_edge_litert.interpreter", "ai-edge-litert", "pip install 'sondino[litert]'", "litert"),
        Runtime("python", "", "", ""),
    )
}
"""Every runtime by name. Those without -graph compute the log-mel outside the graph, by a real FFT."""

OF_BUNDLES = ("onnxruntime", "onnxruntime-graph", "openvino", "openvino-graph", "torch")
_OF_EXPORTS = {"onnx": "onnxruntime", "openvino": "openvino", "executorch": "executorch", "litert": "litert"}
_OF_TEACHERS = {
    "onnx": "onnxruntime-graph",
    **dict.fromkeys(("litert", "birdnet"), "litert"),
    **dict.fromkeys(("matpac", "m2d", "cnn14", "torchscript"), "torch"),
}
_PRECISIONS = {"f32": "float32", "f16": "float16", "int8": "int8"}

Kind = Literal["bundle", "export", "teacher"]


@dataclass(frozen=True)
class NamedModel:
    """A model, by name.

    Attributes:
        name: in the table.
        kind: a bundle, the folder of an export, or anything that can be a teacher.
        source: the folder, or the teacher's full name.
        peer: named with `--against`.
    """

    name: str
    kind: Kind
    source: str
    peer: bool


@dataclass(frozen=True)
class Combination:
    """One thing to measure: a model in a runtime, in one precision, on so many processor threads.

    Attributes:
        model: what was named.
        runtime: one of `RUNTIMES`.
        precision: that it computes in; empty where the file determines it.
        threads: processor threads.
        python: the interpreter that has the runtime.
    """

    model: NamedModel
    runtime: str
    precision: str
    threads: int
    python: str


def find(name: str, peer: bool = False) -> NamedModel:
    """A model by its name.

    Args:
        name: a bundle, a run's folder, a published name, an export's folder, an ONNX or TFLite file, or a teacher as
            `sondino teachers` lists them.
        peer: whether the others are compared with it.

    Raises:
        OptionError: there is no such model, or it cannot be timed.
        SondinoError: a published model cannot be fetched.
    """
    folder = Path(name).expanduser()
    restore(folder)
    if (folder / "export.json").is_file():
        facts = read_export(folder)
        if facts["to"] == "web":
            raise OptionError(
                f"{name} is a web page, which runs in a browser: name the bundle that it was exported from"
            )
        return NamedModel(str(facts["name"]), "export", str(folder), peer)
    if not folder.is_dir():
        spec = _teacher(name)
        if spec is not None:
            return NamedModel(Path(spec.file).name if spec.file else spec.kind, "teacher", spec.text, peer)
    from sondino.model.config import read_config
    from sondino.pretrained.locate import locate

    found = locate(name)
    return NamedModel(str(read_config(found / "config.json").get("name")), "bundle", str(found), peer)


def read_export(folder: Path) -> dict[str, Any]:
    """The content of export.json.

    Raises:
        OptionError: it is of another format.
    """
    facts = read_json(folder / "export.json")
    if facts.get("format") != EXPORT_FORMAT or facts.get("to") not in (*_OF_EXPORTS, "web"):
        raise OptionError(f"{folder / 'export.json'} is not of the format {EXPORT_FORMAT}: export the bundle again")
    return facts


def _find_damage(model: NamedModel) -> str | None:
    """An error message if a file of a bundle or an export is missing or damaged.

    Checked here, once, and not where models are opened, so that hashing is not part of the measured start.
    """
    if model.kind == "teacher":
        return None
    folder = Path(model.source)
    facts = read_json(folder / ("export.json" if model.kind == "export" else "config.json"))
    hashes: dict[str, str] = facts.get("hashes", {})
    names = hashes if model.kind == "export" else [name for name in ("model.onnx", "body.onnx") if name in hashes]
    for name in names:
        try:
            digest = sha256(folder / name)
        except OSError as error:
            return f"{folder / name}: cannot be read ({error.strerror}); copy the whole folder again"
        if digest != hashes[name]:
            return f"{folder / name}: is damaged, its hash is not the one beside it; copy the whole folder again"
    return None


def _teacher(name: str) -> TeacherSpec | None:
    """Parse a teacher's name and check its file; None if the name is not a teacher's."""
    kind = kind_of(name)
    if not kind:
        return None
    spec = parse_teacher(name if re.split("[:?#]", name)[0] == kind else f"{kind}:{name}")
    if kind == "precomputed":
        raise OptionError(f"{name} holds precomputed embeddings by id, and cannot embed audio: name a model")
    if "threads" in spec.options:
        raise OptionError(f"{name}: leave out threads=, bench sets them (--threads)")
    if kind in ("onnx", "litert", "torchscript"):
        _ = spec.path  # raises where there is no such file
    return spec


def combinations(
    models: Sequence[NamedModel], runtimes: Sequence[str], threads: Sequence[int]
) -> tuple[list[Combination], dict[str, str], dict[NamedModel, str]]:
    """Every combination to measure.

    Args:
        models: from `find`.
        runtimes: of `OF_BUNDLES`, that bundles are run in, or only "all": those that are installed. An export or a
            teacher always runs in its own runtime.
        threads: counts of processor threads.

    Returns:
        the combinations, models in the given order; runtimes that are not installed here, and what installs them;
        models that are damaged or that nothing installed here can run, and why.

    Raises:
        OptionError: unknown runtime, or a named one that is not installed.
    """
    everything = list(runtimes) == ["all"]
    for name in () if everything else runtimes:
        if name not in OF_BUNDLES:
            if name in RUNTIMES:
                raise OptionError(f"runtime {name} does not run bundles: name the export or teacher alone")
            raise unknown_name("runtime", name, [*OF_BUNDLES, "all"])
        if _python_with(RUNTIMES[name]) is None:
            raise OptionError(f"runtime {name} is not installed here: {RUNTIMES[name].install}")
    found: list[Combination] = []
    missing: dict[str, str] = {}
    not_run: dict[NamedModel, str] = {}
    for model in models:
        damage = _find_damage(model)
        if damage is not None:
            not_run[model] = damage
            continue
        pairs = _runs_in(model, OF_BUNDLES if everything else runtimes)
        pythons = {runtime: _python_with(RUNTIMES[runtime]) for runtime, _ in pairs}
        installed = [(runtime, precision, pythons[runtime]) for runtime, precision in pairs if pythons[runtime]]
        if not installed:
            lacks = ", ".join(f"{name} is not installed here ({RUNTIMES[name].install})" for name in pythons)
            not_run[model] = lacks or f"it cannot be run in {', '.join(runtimes)}: leave out --runtime"
        else:
            missing |= {name: RUNTIMES[name].install for name, python in pythons.items() if python is None}
        found += [Combination(model, r, p, count, python) for count in threads for r, p, python in installed if python]
    return _with_unique_names(found), missing, not_run


def _runs_in(model: NamedModel, runtimes: Sequence[str]) -> list[tuple[str, str]]:
    """Runtime and precision of each way to run a model, installed or not."""
    if model.kind == "teacher":
        return [(_OF_TEACHERS.get(model.source.partition(":")[0].partition("?")[0], "python"), "")]
    if model.kind == "export":
        facts = read_export(Path(model.source))
        runtime, precision = _OF_EXPORTS[facts["to"]], _PRECISIONS.get(facts["precision"], facts["precision"])
        if facts["precision"] == "f16" and runtime != "executorch":
            precision = "float32"  # stored in float16, converted to float32 when it is opened
        graph = facts["input"] == "waveform" and runtime in ("onnxruntime", "openvino")
        return [(f"{runtime}-graph" if graph else runtime, precision)]
    config = read_json(Path(model.source) / "config.json")
    own = str(config.get("precision", "float32"))
    pairs = [(runtime, own) for runtime in runtimes]
    if own != "float32" or config.get("student") not in STUDENTS:
        pairs = [pair for pair in pairs if pair[0] != "torch"]
    if own == "float32" and _has_bfloat16():
        half = [(runtime, "bfloat16") for runtime in runtimes if runtime.startswith("openvino")]
        pairs = sorted([*pairs, *half], key=lambda pair: runtimes.index(pair[0]))
    return pairs


def _has_bfloat16() -> bool:
    """Whether OpenVINO is installed and computes in bfloat16 on this processor."""
    if importlib.util.find_spec("openvino") is None:
        return False
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _python_with(runtime: Runtime) -> str | None:
    """The interpreter that has a runtime: this one, or that of an environment that `make edge` built."""
    if not runtime.module or importlib.util.find_spec(runtime.module.partition(".")[0]) is not None:
        return sys.executable
    own = Path(os.environ.get("SONDINO_EDGE", ".edge")) / runtime.edge / "bin" / "python"
    return str(own.absolute()) if runtime.edge and own.is_file() else None


def _with_unique_names(found: list[Combination]) -> list[Combination]:
    """Add the source to the names of models that would have the same name, runtime and precision in the table."""
    sources: dict[tuple[str, str, str], set[str]] = {}
    for each in found:
        sources.setdefault((each.model.name, each.runtime, each.precision), set()).add(each.model.source)
    twice = {name for (name, _, _), of in sources.items() if len(of) > 1}
    return [
        Combination(
            NamedModel(f"{m.name} ({m.source})" if m.name in twice else m.name, m.kind, m.source, m.peer),
            each.runtime,
            each.precision,
            each.threads,
            each.python,
        )
        for each in found
        for m in (each.model,)
    ]

"""What is to be measured: bundles, exports and peers by name, and the runtimes that each can be run in here."""

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
from sondino.model.bundle import EXPORT_FORMAT
from sondino.nets.registry import STUDENTS
from sondino.teachers.spec import TeacherSpec, kind_of, parse_teacher


@dataclass(frozen=True)
class Runtime:
    """Something that models run in.

    Attributes:
        name: as `--runtime` takes it.
        module: what a process imports first; empty: nothing beyond the base install.
        package: its distribution, whose version is told.
        install: what to type where it is missing.
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
"""Every runtime by name. Those without -graph have their log-mel outside the graph, as a real FFT."""

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
class Given:
    """A model that was named.

    Attributes:
        name: what it is called in the table.
        kind: a bundle, the folder of an export, or anything that can be a teacher.
        source: the folder, or the teacher's whole name.
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
        precision: of the numbers it computes with; empty where the file decides.
        threads: processor threads.
        python: the interpreter that has the runtime.
    """

    model: Given
    runtime: str
    precision: str
    threads: int
    python: str


def find(name: str, peer: bool = False) -> Given:
    """A model by its name.

    Args:
        name: a bundle, a run's folder, a published name, an export's folder, an ONNX or TFLite file, or a teacher as
            `sondino teachers` lists them.
        peer: whether it is what the others are compared with.

    Raises:
        OptionError: there is no such thing, or it cannot be timed.
        SondinoError: a published model cannot be fetched.
    """
    folder = Path(name).expanduser()
    if (folder / "export.json").is_file():
        facts = read_export(folder)
        if facts["to"] == "web":
            raise OptionError(f"{name} is a web page, which runs in a browser: name the bundle that it was made of")
        return Given(str(facts["name"]), "export", str(folder), peer)
    if not folder.is_dir():
        spec = _teacher(name)
        if spec is not None:
            return Given(Path(spec.file).name if spec.file else spec.kind, "teacher", spec.text, peer)
    from sondino.model.bundle import read_config
    from sondino.pretrained.locate import locate

    found = locate(name)
    return Given(str(read_config(found / "config.json").get("name")), "bundle", str(found), peer)


def read_export(folder: Path) -> dict[str, Any]:
    """What export.json says.

    Raises:
        OptionError: it is of another format.
    """
    facts = read_json(folder / "export.json")
    if facts.get("format") != EXPORT_FORMAT or facts.get("to") not in (*_OF_EXPORTS, "web"):
        raise OptionError(f"{folder / 'export.json'} is not of the format {EXPORT_FORMAT}: export the bundle again")
    return facts


def _damage(model: Given) -> str | None:
    """Which file of a bundle or an export is not as it was written, if any.

    Looked for here, once, and not where models are opened: other programs that open them do not pay for it either.
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
    """A teacher's name read and its file looked for; None where it is the name of something else."""
    kind = kind_of(name)
    if not kind:
        return None
    spec = parse_teacher(name if re.split("[:?#]", name)[0] == kind else f"{kind}:{name}")
    if kind == "precomputed":
        raise OptionError(f"{name} holds embeddings of clips that are known by id, and hears nothing: name a model")
    if "threads" in spec.options:
        raise OptionError(f"{name}: leave out threads=, bench sets them (--threads)")
    if kind in ("onnx", "litert", "torchscript"):
        _ = spec.path  # raises where there is no such file
    return spec


def combinations(
    models: Sequence[Given], runtimes: Sequence[str], threads: Sequence[int]
) -> tuple[list[Combination], dict[str, str], dict[Given, str]]:
    """Everything to measure.

    Args:
        models: what was named.
        runtimes: of `OF_BUNDLES`, that bundles are run in, or only "all": those that are here. An export or a peer has
            a runtime of its own, which it is always run in.
        threads: counts of processor threads.

    Returns:
        the combinations, models in the order given; further runtimes that are not installed here and what installs
        them; models that are damaged or that nothing here
        can run, and why.

    Raises:
        OptionError: unknown runtime, or one that was asked for by name and is not here.
    """
    everything = list(runtimes) == ["all"]
    for name in () if everything else runtimes:
        if name not in OF_BUNDLES:
            if name in RUNTIMES:
                raise OptionError(f"runtime {name} runs no bundle, but an export's folder or a peer: name that alone")
            raise unknown_name("runtime", name, [*OF_BUNDLES, "all"])
        if _python_with(RUNTIMES[name]) is None:
            raise OptionError(f"runtime {name} is not installed here: {RUNTIMES[name].install}")
    found: list[Combination] = []
    missing: dict[str, str] = {}
    nowhere: dict[Given, str] = {}
    for model in models:
        damage = _damage(model)
        if damage is not None:
            nowhere[model] = damage
            continue
        pairs = _runs_in(model, OF_BUNDLES if everything else runtimes)
        pythons = {runtime: _python_with(RUNTIMES[runtime]) for runtime, _ in pairs}
        here = [(runtime, precision, pythons[runtime]) for runtime, precision in pairs if pythons[runtime]]
        if not here:
            lacks = ", ".join(f"{name} is not installed here ({RUNTIMES[name].install})" for name in pythons)
            nowhere[model] = lacks or f"it cannot be run in {', '.join(runtimes)}: leave out --runtime"
        else:
            missing |= {name: RUNTIMES[name].install for name, python in pythons.items() if python is None}
        found += [Combination(model, r, p, count, python) for count in threads for r, p, python in here if python]
    return _told_apart(found), missing, nowhere


def _runs_in(model: Given, runtimes: Sequence[str]) -> list[tuple[str, str]]:
    """Runtime and precision of each way to run a model, whether or not it is here."""
    if model.kind == "teacher":
        return [(_OF_TEACHERS.get(model.source.partition(":")[0].partition("?")[0], "python"), "")]
    if model.kind == "export":
        facts = read_export(Path(model.source))
        runtime, precision = _OF_EXPORTS[facts["to"]], _PRECISIONS.get(facts["precision"], facts["precision"])
        if facts["precision"] == "f16" and runtime != "executorch":
            precision = "float32"  # stored in half the size, and widened when it is opened
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
    """Whether OpenVINO is here and computes in bfloat16 on this processor."""
    if importlib.util.find_spec("openvino") is None:
        return False
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _python_with(runtime: Runtime) -> str | None:
    """The interpreter that has a runtime: this one, or that of an environment that `make edge` built."""
    if not runtime.module or importlib.util.find_spec(runtime.module.partition(".")[0]) is not None:
        return sys.executable
    own = Path(os.environ.get("SONDINO_EDGE", ".edge")) / runtime.edge / "bin" / "python"
    return str(own.absolute()) if runtime.edge and own.is_file() else None


def _told_apart(found: list[Combination]) -> list[Combination]:
    """Models that would stand in the table under the same name, runtime and precision are named with their source."""
    sources: dict[tuple[str, str, str], set[str]] = {}
    for each in found:
        sources.setdefault((each.model.name, each.runtime, each.precision), set()).add(each.model.source)
    twice = {name for (name, _, _), of in sources.items() if len(of) > 1}
    return [
        Combination(
            Given(f"{m.name} ({m.source})" if m.name in twice else m.name, m.kind, m.source, m.peer),
            each.runtime,
            each.precision,
            each.threads,
            each.python,
        )
        for each in found
        for m in (each.model,)
    ]

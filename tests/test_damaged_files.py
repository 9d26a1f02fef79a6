"""Files of ours that somebody damaged or edited: they open, or an error of ours says why. Never another exception."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import results_fixture
from helpers.tiny_bundle import write_tiny_bundle
from helpers.tiny_tflite import tiny_tflite
from sondino.distillation.recipe import FIELDS, resolve_recipe
from sondino.embedding.similar import find_similar, query_of_id
from sondino.embedding.tables import WRITERS, TableForm, TablePart
from sondino.errors import SondinoError
from sondino.model.bundle import find_bundles
from sondino.model.config import read_config
from sondino.model.model import Model
from sondino.nets.saved import read_student
from sondino.reporting.report import report
from sondino.teachers import load_teacher, tflite

tries = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30, 1e308, -0.0, 1e-300]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "\x1b[2J", "../../x", "=1+1", "<script>", "\udcff", "x" * 3000]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just([[[[[]]]]]),
)


def paths_in(values: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of each entry, nested ones too."""
    inside = values.items() if isinstance(values, dict) else enumerate(values[:3]) if isinstance(values, list) else ()
    return [path for key, value in inside for path in [(*before, key), *paths_in(value, (*before, key))]]


def changed(values: Any, path: tuple[Any, ...], new: Any, remove: bool) -> Any:
    """Values with another one at a place, or without it."""
    values = json.loads(json.dumps(values))
    inside = values
    for key in path[:-1]:
        inside = inside[key]
    if remove:
        del inside[path[-1]]
    else:
        inside[path[-1]] = new
    return values


def changes(values: Any) -> st.SearchStrategy[Any]:
    """The values with one or two entries changed or removed."""
    one = st.builds(
        lambda path, new, remove: (path, new, remove), st.sampled_from(paths_in(values)), ODD, st.booleans()
    )

    def apply(found: list[tuple[Any, Any, bool]]) -> Any:
        result = values
        for path, new, remove in found:
            with suppress(KeyError, IndexError, TypeError):  # the first change took the place of the second
                result = changed(result, path, new, remove)
        return result

    return st.lists(one, min_size=1, max_size=2).map(apply)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with some of them changed, cut off or said twice."""

    def apply(places: list[tuple[int, int]], cut: int, way: str) -> bytes:
        found = bytearray(content)
        for place, value in places:
            found[place % len(found)] = value
        cut %= len(found)
        return bytes(found[:cut] if way == "cut" else found + found[cut:] if way == "again" else found)

    spots = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    return st.builds(apply, spots, st.integers(0, len(content)), st.sampled_from(["", "", "", "cut", "again"]))


# ---- bundles ----------------------------------------------------------------------------------------------------

FULL = {
    "front_end": {
        "sample_rate": 16000, "n_fft": 400, "window_length": 400, "hop": 160, "n_mels": 8, "f_min": 50.0,
        "f_max": 8000.0, "center": False, "log_offset": 1e-3, "mean": 0.0, "std": 1.0, "periodic": True,
        "mel_scale": "slaney", "preemphasis": 0.0, "log_floor": 0.0,
    },
    "build": {"channels": {"a": [8, 8]}},
    "parameters": 3,
    "macs_per_10s": 1000,
    "onnx_difference": 1e-6,
    "licence": None,
    "teachers": [{"spec": "birdnet", "dim": 3, "sample_rate": 48000, "licence": "MIT"}],
    "source": {"kind": "panns", "file": "x.pth", "sha256": "ab", "url": None, "licence": "MIT", "dropped": ["x"]},
    "data": {"clips": 3},
    "scores": {"head": "accuracy"},
    "finetuned": {"freeze": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("damaged") / "bundle", **FULL)


@tries
@given(data=st.data())
def test_an_edited_config_opens_or_is_an_error_of_ours(bundle: Path, data: st.DataObject) -> None:
    file = bundle / "config.json"
    good = file.read_text()
    try:
        file.write_text(json.dumps(data.draw(changes(json.loads(good)))))
        with suppress(SondinoError):
            Model(bundle, threads=1).embed((np.zeros(8000, np.float32), 16000))
        with suppress(SondinoError):
            read_student(bundle)
        rows, unreadable = find_bundles(bundle.parent)
        assert len(rows) + len(unreadable) == 1
    finally:
        file.write_text(good)


@tries
@given(data=st.data())
def test_a_damaged_config_opens_or_is_an_error_of_ours(bundle: Path, data: st.DataObject) -> None:
    file = bundle / "config.json"
    good = file.read_bytes()
    try:
        file.write_bytes(data.draw(damaged(good)))
        with suppress(SondinoError):
            read_config(file)
        find_bundles(bundle.parent)
    finally:
        file.write_bytes(good)


def test_one_odd_bundle_does_not_hide_the_others(bundle: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(bundle, tmp_path / name)
    (tmp_path / "b" / "config.json").write_text("[" * 100_000)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    shutil.copytree(bundle, tmp_path / ".mine.1.partial")
    rows, unreadable = find_bundles(tmp_path)
    assert [found.folder.name for found in rows] == ["a", "c"]
    assert unreadable == [(str(tmp_path / "b"), "is damaged (nested too deeply); copy the whole bundle again")]


# ---- recipes ----------------------------------------------------------------------------------------------------


@tries
@given(values=st.dictionaries(st.sampled_from([*FIELDS, "epoch", "", "5"]), ODD, max_size=4))
def test_a_recipe_of_any_values_is_one_or_an_error_of_ours(values: dict[str, Any]) -> None:
    with suppress(SondinoError):
        resolve_recipe({"teacher": "birdnet"} | values)


@tries
@given(
    text=st.lists(
        st.one_of(
            st.sampled_from(["teacher: x\n", "epochs: ", "clip: 3\n", "- ", "!!int ", "!!binary ", "? ", "&a "]),
            st.sampled_from(["*a", "{", "]", "~: 1\n"]),
            st.text(max_size=4),
        ),
        max_size=8,
    ).map("".join)
)  # fmt: skip
def test_a_recipe_file_of_any_text_is_one_or_an_error_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_bytes(text.encode(errors="surrogatepass"))
    with suppress(SondinoError):
        resolve_recipe(tmp_path / "r.yaml")


def test_text_that_is_not_utf8_gets_a_message() -> None:
    with pytest.raises(SondinoError, match="text in it is not UTF-8"):
        resolve_recipe({"teacher": "birdnet", "width": "\udcff"})


# ---- tables -----------------------------------------------------------------------------------------------------

PART = TablePart(
    ["a.wav", "=b\r\udcff.wav"], [2, 1], np.arange(9, dtype=np.float32).reshape(3, 3), np.array([0, 0.5, 0]), 3.0, []
)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITERS if suffix != ".lance"])  # damaged data ends its reader
@pytest.mark.parametrize("per_window", [False, True])
def test_a_damaged_table_is_searched_or_is_an_error_of_ours(tmp_path: Path, suffix: str, per_window: bool) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    table = tmp_path / f"table{suffix}"
    part = PART if per_window else TablePart(PART.ids, [1, 1], PART.embeddings[:2], PART.starts[:2], 2.0, [])
    WRITERS[suffix](table, [part], TableForm(2, len(part.embeddings), 3, per_window))
    assert [near.id for near in find_similar(query_of_id("a.wav", table), table)] == PART.ids
    file = tmp_path / "table.ids.csv" if suffix == ".npy" and per_window else table
    good = file.read_bytes()

    @tries
    @given(content=damaged(good))
    def search(content: bytes) -> None:
        file.write_bytes(content)
        with suppress(SondinoError):
            find_similar(query_of_id("a.wav", table), table)

    search()


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def patched(at: int, local: int, value: int) -> Callable[[], bytes]:
    """A table with two bytes of each of its zip headers replaced: `at` in the directory, `local` in the members'."""

    def make() -> bytes:
        found = bytearray(npz(ids=np.array(["a"]), vectors=np.eye(1, dtype=np.float32)))
        for mark, offset in ((b"PK\1\2", at), (b"PK\3\4", local)):
            place = -1
            while (place := found.find(mark, place + 1)) >= 0:
                found[place + offset : place + offset + 2] = value.to_bytes(2, "little")
        return bytes(found)

    return make


def with_header(header: bytes) -> Callable[[], bytes]:
    """A table whose vectors begin with a header of one's own."""

    def make() -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            ids = io.BytesIO()
            np.save(ids, np.array(["a"]))
            archive.writestr("ids.npy", ids.getvalue())
            archive.writestr("vectors.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
        return content.getvalue()

    return make


def bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ids.npy", b"")
        archive.writestr("vectors.npy", b"")
    return content.getvalue().replace((0).to_bytes(4, "little") * 2, (2).to_bytes(4, "little") + b"\xff\xff\xff\x7f")


SHAPE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    "make",
    [
        patched(8, 6, 1),
        patched(10, 8, 99),
        patched(6, 4, 255),
        *map(with_header, (b"{\n", b'"""\n', b"-" * 3000 + b"1\n", b"\n", b"1\n")),
        *(with_header(SHAPE % shape) for shape in (b"1, 10**9", b"1, 999999999999", b"-1, 3", b"True, 1")),
        with_header(SHAPE % (b"9" * 30 + b", 3")),
        with_header(SHAPE.replace(b"<f4", b"|O") % b"1, 1"),
        with_header(SHAPE.replace(b"<f4", b"<U3") % b"1, 1"),
        lambda: npz(ids=np.array(["a"]), vectors=np.eye(1), clip=np.array([7]), start=np.zeros(1)),
        lambda: npz(ids=np.array(["a"]), vectors=np.eye(1), clip=np.array([-1]), start=np.zeros(1)),
        lambda: npz(ids=np.array(["a"]), vectors=np.eye(1), clip=np.array([True]), start=np.array(["x"])),
        bomb,
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_gets_a_message(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "t.npz").write_bytes(make())
    with pytest.raises(SondinoError, match=r"t\.npz"):
        query_of_id("a", tmp_path / "t.npz")


# ---- LiteRT files -----------------------------------------------------------------------------------------------


def test_a_damaged_litert_file_is_read_or_is_an_error_of_ours(tmp_path: Path) -> None:
    good = tiny_tflite(tmp_path / "good.tflite", [4]).read_bytes()

    @tries
    @given(content=damaged(good))
    def look(content: bytes) -> None:
        with suppress(SondinoError):
            tensors = tflite.inner_tensors(content, "x.tflite")
            tflite.outputs(content, "x.tflite")
            for tensor in tensors:
                tflite.cut_after(content, tensor, "x.tflite")

    look()


@pytest.mark.parametrize("name", [b"waveform", b"net/head"])
def test_a_litert_file_with_a_name_that_is_no_text_gets_a_message(tmp_path: Path, name: bytes) -> None:
    file = tiny_tflite(tmp_path / "x.tflite", [4])
    pytest.importorskip("ai_edge_litert.interpreter", reason="the litert extra is not installed")
    file.write_bytes(file.read_bytes().replace(name, b"\xcb" + name[1:]))
    with pytest.raises(SondinoError, match=r"x\.tflite cannot be opened: it is damaged"):
        load_teacher(f"litert:{file}?rate=600&threads=1")


# ---- results ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["evaluation", "support", "sweep"])
def test_edited_results_give_a_page_or_an_error_of_ours(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = getattr(results_fixture, kind)
    folder = make(tmp_path, tasks=1, vectors=False) if kind == "evaluation" else make(tmp_path)
    good = json.loads((folder / "results.json").read_text())
    monkeypatch.setattr("sondino.reporting.sounds.ReportClips.add_file", lambda *_: None)  # takes long, and is tested

    @tries
    @given(content=changes(good))
    def page(content: Any) -> None:
        (folder / "results.json").write_text(json.dumps(content))
        with suppress(SondinoError):
            report(folder)

    page()

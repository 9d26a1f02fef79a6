"""The transformer of scikit-learn: its rows are those of `Model.embed`, alone, in pipelines and in other processes."""

import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn", reason="the report extra is not installed")
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import sondino
from helpers.tiny_bundle import TINY_RATE, tiny_vectors, write_tiny_bundle
from sondino.encoder.head import Head
from sondino.errors import AudioError, OptionError, SondinoError
from sondino.model.model import Model
from sondino.scikit_learn import SondinoEmbedder

LABELS = ["quiet", "loud"] * 6


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    """(12, 8000), every second one a hundred times as loud: a tenth of a tenth of it is in its power."""
    x = np.random.default_rng(0).uniform(-1, 1, (len(LABELS), 8000)).astype(np.float32)
    return x * np.array([0.01 if label == "quiet" else 1.0 for label in LABELS], np.float32)[:, None]


@pytest.fixture(scope="module")
def paths(waveforms: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    for at, x in enumerate(waveforms):
        soundfile.write(folder / f"{at:02d}.wav", x, TINY_RATE, subtype="FLOAT")
    return sorted(map(str, folder.glob("*.wav")))


# ---- what X may be ----------------------------------------------------------------------------------------------


def test_its_rows_are_the_embeddings(bundle: Path, waveforms: np.ndarray, paths: list[str]) -> None:
    expected = tiny_vectors(np.pad(waveforms, ((0, 0), (0, 8000))))
    embedder = SondinoEmbedder(bundle, TINY_RATE, threads=1)
    assert embedder.fit(paths) is embedder and embedder.n_features_out_ == 3
    tables = [paths, np.array(paths), np.array(paths)[:, None], tuple(map(Path, paths)), waveforms, list(waveforms)]
    tables += [[(x, TINY_RATE) for x in waveforms], [{"array": x, "sampling_rate": TINY_RATE} for x in waveforms]]
    tables += [np.stack([waveforms, waveforms], axis=1), waveforms.tolist()]  # (n, channels, samples); lists
    for X in tables:
        found = embedder.transform(X)
        assert found.dtype == np.float32 and found == pytest.approx(expected, abs=1e-6)
    native = SondinoEmbedder(bundle, TINY_RATE, short="native").transform(waveforms)
    assert native == pytest.approx(tiny_vectors(waveforms), abs=1e-6)


def test_clips_of_other_lengths_and_rates(bundle: Path, waveforms: np.ndarray) -> None:
    clips = [waveforms[1], waveforms[3, :5000], np.concatenate([waveforms[5]] * 5)]
    model = Model(bundle)
    for X in (clips, np.array([*clips, None], dtype=object)[:3]):
        found = SondinoEmbedder(model, 22050).fit_transform(X)
        assert np.array_equal(found, model.embed([(clip, 22050) for clip in clips]))


def test_series_tables_and_tensors(bundle: Path, waveforms: np.ndarray, paths: list[str]) -> None:
    pandas = pytest.importorskip("pandas", reason="the dev extra is not installed")
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    embedder = SondinoEmbedder(bundle, TINY_RATE)
    expected = embedder.transform(paths)
    series = pandas.Series(paths, index=range(100, 112))
    tables = [series, series.to_frame("path"), pandas.DataFrame(waveforms), torch.from_numpy(waveforms)]
    for X in [*tables, pandas.Series(list(waveforms))]:
        assert embedder.transform(X) == pytest.approx(expected, abs=1e-6)
    table = embedder.set_output(transform="pandas").fit_transform(series.to_frame("path"))
    assert table.columns.tolist() == ["sondinoembedder0", "sondinoembedder1", "sondinoembedder2"]
    assert table.index.tolist() == series.index.tolist() and table.to_numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({}, "a.wav", "X is a str: give a list of clips, one row each"),
        ({}, iter(["a.wav"]), "X is a list_iterator: give a list of clips"),
        ({}, [], "X holds no clips"),
        ({}, np.zeros((0, 100)), "X holds no clips"),
        ({}, np.zeros((2, 100)), "X holds arrays: give SondinoEmbedder their sample_rate in hertz"),
        ({"sample_rate": 16000}, np.zeros(100), r"X is an array of shape \(100,\): give \(n, samples\)"),
        ({"sample_rate": 16000}, [np.zeros(100), "a.wav"], r"X\[1\] differs from X\[0\]: give arrays alone, or none"),
        ({"sample_rate": "16"}, np.zeros((2, 100)), "an array came with the rate '16': give its sample rate in hertz"),
        ({}, [str(Path(__file__).parent)], r"X\[0\] is a folder, .*tests: name its files, one row each"),
        ({"model": 7}, ["a.wav"], "model is a int: give a name or path that sondino.load opens, or a Model"),
        ({"window_policy": "some"}, ["a.wav"], "window policy is 'some': give one of all, published"),
        ({"short": "cut"}, ["a.wav"], "short is 'cut': give one of pad, native, repeat"),
        ({"threads": 0}, ["a.wav"], "threads is 0: give a whole number"),
        ({"model": "nowhere"}, ["a.wav"], "unknown model 'nowhere'"),
        ({}, ["a.wav"], "a.wav: no such file; check the path"),
    ],
)
def test_what_is_refused_has_a_message(bundle: Path, options: dict[str, Any], X: object, message: str) -> None:
    with pytest.raises((OptionError, AudioError), match=message):
        SondinoEmbedder(**{"model": bundle, **options}).fit_transform(X)


# ---- scikit-learn -----------------------------------------------------------------------------------------------

EXPECTED = {
    "check_estimators_dtypes": "integers of 64 bits are no sound",
    **dict.fromkeys(
        ("check_estimator_sparse_tag", "check_estimator_sparse_array", "check_estimator_sparse_matrix"),
        "refused by an OptionError, which is no TypeError",
    ),
}


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_s_own_checks(bundle: Path) -> None:
    if "expected_failed_checks" not in inspect.signature(check_estimator).parameters:
        return  # before scikit-learn 1.6 the checks knew no tags of this form
    embedder = SondinoEmbedder(str(bundle), TINY_RATE, threads=1)
    results = check_estimator(embedder, expected_failed_checks=EXPECTED, on_skip=None, on_fail=None)
    assert [(row["check_name"], row["exception"]) for row in results if row["status"] == "failed"] == []
    assert sum(row["status"] == "passed" for row in results) > 20


def test_parameters_are_stored_as_they_are_and_cloned(bundle: Path) -> None:
    model = Model(bundle)
    embedder = SondinoEmbedder(model, 8000.0, window_policy="published", short="native", threads=2)
    given = {"model": model, "sample_rate": 8000.0, "window_policy": "published", "short": "native", "threads": 2}
    assert embedder.get_params() == given
    copied = clone(embedder)
    assert copied.model._session is model._session  # a clone is cheap
    assert copied.set_params(model=bundle, short=None).get_params() == {**given, "model": bundle, "short": None}
    assert copied.get_feature_names_out().tolist() == [f"sondinoembedder{i}" for i in range(3)]
    assert SondinoEmbedder().get_params()["model"] == "sondino-small"


def test_another_model_than_at_fit_is_refused(bundle: Path, tmp_path: Path, paths: list[str]) -> None:
    other = write_tiny_bundle(tmp_path / "other", window=0.25)
    embedder = SondinoEmbedder(bundle).fit(paths)
    with pytest.raises(SondinoError, match="tiny: is another model than the one at fit; fit again"):
        embedder.set_params(model=other).transform(paths)
    assert np.array_equal(embedder.fit_transform(paths), Model(other).embed(paths))


def test_it_is_pickled_without_its_model(bundle: Path, paths: list[str]) -> None:
    embedder = SondinoEmbedder(bundle).fit(paths)
    sent = pickle.dumps(embedder)
    assert len(sent) < 1000 and np.array_equal(pickle.loads(sent).transform(paths), embedder.transform(paths))
    head = Head("loud", ("quiet", "loud"), False, ((np.zeros((2, 3)), np.zeros(2)),))
    received = pickle.loads(pickle.dumps(SondinoEmbedder(Model(bundle).with_head(head)).fit(paths)))
    assert np.array_equal(received.transform(paths), embedder.transform(paths)) and received.model.head is not None


def test_cross_validation_in_processes_scores_as_on_the_embeddings(bundle: Path, paths: list[str]) -> None:
    labels = ["quiet", "loud", "loud", "quiet"] * 3  # half of them wrong
    embeddings = Model(bundle).embed(paths)
    expected = cross_val_score(LogisticRegression(), embeddings, labels, cv=3)
    classifier = make_pipeline(SondinoEmbedder(bundle, threads=1), LogisticRegression())
    for jobs in (None, 2):
        assert np.array_equal(cross_val_score(classifier, paths, labels, cv=3, n_jobs=jobs), expected)
    right = cross_val_score(classifier, np.array(paths), LABELS, cv=3, n_jobs=2)
    assert right.tolist() == [1.0] * 3


def test_a_grid_search_over_its_options(bundle: Path, tmp_path: Path, waveforms: np.ndarray) -> None:
    other = write_tiny_bundle(tmp_path / "other", window=0.25)
    steps = [("embed", SondinoEmbedder(bundle, TINY_RATE, threads=1)), ("fit", LogisticRegression())]
    grid = {"embed__model": [bundle, Model(other, threads=1)], "embed__short": ["pad", "native"], "fit__C": [1.0, 10.0]}
    found = GridSearchCV(Pipeline(steps, memory=str(tmp_path / "memory")), grid, cv=2).fit(waveforms, LABELS)
    assert len(found.cv_results_["params"]) == 8 and found.best_score_ == 1.0
    for row, score in zip(found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True):
        embeddings = SondinoEmbedder(row["embed__model"], TINY_RATE, short=row["embed__short"]).transform(waveforms)
        assert score == cross_val_score(LogisticRegression(C=row["fit__C"]), embeddings, LABELS, cv=2).mean()


def test_scikit_learn_is_imported_with_it_alone() -> None:
    code = (
        "import sys, sondino; assert not {'sklearn', 'numpy'} & set(sys.modules)\n"
        "sondino.load, sondino.Model; assert 'sklearn' not in sys.modules\n"
        "assert sondino.SondinoEmbedder().get_params()['model'] == 'sondino-small' and 'sklearn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_a_public_name() -> None:
    assert sondino.SondinoEmbedder is SondinoEmbedder

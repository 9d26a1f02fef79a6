import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.pages import Page, audio_of, decoded, likeness
from sondino.errors import OptionError
from sondino.reporting import map as report_map
from sondino.reporting import sounds as report_sounds
from sondino.reporting.cells import headline_numbers
from sondino.reporting.excerpt import excerpt, mp3, outline
from sondino.reporting.map import Mode, Points, cluster_mode, map_2d
from sondino.reporting.run_page import write_report
from sondino.sample_sounds import sample_folder, sample_labels

ROWS = [
    {"model": "birdnet", "role": "teacher", "parameters": 12_000_000, "probe_accuracy": 0.9, "cosine": None},
    {
        "model": "mobilenetv3",
        "role": "student",
        "parameters": 1_000_000,
        "file_bytes": 4_100_000,
        "milliseconds_per_10s": 8.0,
        "probe_accuracy": 0.81,
        "probe_interval95": (0.78, 0.84),
        "cosine": 0.8321,
        "neighbour_overlap": 0.5,
        "my own": "<i>kept</i>",
    },
    {"model": "mobilenetv3", "role": "untrained", "parameters": 1_000_000, "probe_accuracy": 0.6},
]
METRICS = [
    {
        "epoch": 1,
        "loss": 0.9,
        "validation_cosine": 0.3,
        "validation_overlap": 0.2,
        "learning_rate": 1e-3,
        "seconds": 2.5,
    },
    {"epoch": 2, "loss": float("nan"), "validation_cosine": 0.5, "validation_overlap": None, "learning_rate": 1e-3},
    {"epoch": 2, "loss": 0.5, "validation_cosine": 0.6, "validation_overlap": 0.4, "learning_rate": 1e-3},
]


def points_of(coordinates, clusters, ids, labels=None, waveforms=None, sample_rate=24000):
    """A map of clips whose waveforms are a list, or a function from row to waveform."""
    modes = [cluster_mode(clusters, labels)] + ([Mode("label", labels)] if labels else [])
    read = waveforms if callable(waveforms) else None if waveforms is None else waveforms.__getitem__
    add_clip = None if read is None else lambda row, sounds: sounds.add(ids[row], lambda: read(row), sample_rate)
    return Points("student", coordinates, ids, modes, add_clip)


def clips():
    paths = list(sample_labels())[::4]
    return paths, [soundfile.read(sample_folder() / path, dtype="float32")[0] for path in paths]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    paths, waveforms = clips()
    labels = [sample_labels()[path] for path in paths]
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("report") / "report.html"
    coordinates = rng.standard_normal((len(paths), 2))
    points = points_of(coordinates, rng.integers(0, 5, len(paths)), paths, labels, waveforms, 32000)
    recipe = {"student": "mobilenetv3", "optimiser": {"lr": 8e-4, "betas": [0.9, 0.999]}, "init": None}
    write_report(file, "What <mobilenetv3> kept", ROWS, METRICS, points, recipe, {"torch": "2.13 & more"})
    return file, Page(file.read_text(encoding="utf-8")), paths, waveforms


def test_page_is_self_contained_and_small(written):
    file, page, _, _ = written
    assert file.stat().st_size < 15e6
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    style = re.search(r"<style>(.*?)</style>", file.read_text(encoding="utf-8"), re.S).group(1)
    assert "url(" not in style and "@import" not in style
    assert not re.search(
        r"fetch\(|XMLHttpRequest|import\(|WebSocket|https?://(?!www\.w3\.org/2000/svg)", page.scripts[1]
    )
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    script = policy.split("script-src ")[1].split(";")[0]
    assert script == f"'sha256-{base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()}'"
    assert not list(file.parent.glob(".*"))


def test_every_point_decodes_to_its_length(written):
    _, page, paths, waveforms = written
    data = page.data()
    points = data["maps"][0]
    assert points["id"] == paths
    outlines = [data["sounds"]["outline"][place] for place in points["sound"]]
    for uri, bars, waveform in zip(audio_of(page), outlines, waveforms, strict=True):
        sound, rate = decoded(uri)
        seconds = min(3.0, max(0.25, len(waveform) / 32000))
        # MP3 comes in frames of 576 samples, up to two of them padding.
        assert seconds - 1e-3 <= len(sound) / rate <= seconds + 3 * 576 / rate
        assert 0.4 < np.abs(sound).max() < 1.0
        assert len(bars) == 48 and max(bars) == 100


def test_sound_on_the_page_is_the_clip(written):
    _, page, _, waveforms = written
    i = next(i for i, waveform in enumerate(waveforms) if 16000 < len(waveform) < 64000)
    original, _ = excerpt(waveforms[i], 32000)
    assert likeness(decoded(audio_of(page)[i])[0], original) > 0.97


def test_groups_cover_all_points_and_sit_apart(written):
    _, page, paths, _ = written
    modes = page.data()["maps"][0]["modes"]
    assert [mode["name"] for mode in modes] == ["cluster", "label"]
    for mode in modes:
        sizes = np.bincount(mode["of"], minlength=len(mode["groups"]))
        assert sizes.tolist() == [group["size"] for group in mode["groups"]]
        looks = {(group["colour"], group["shape"]) for group in mode["groups"]}
        assert len(looks) == len(mode["groups"])
    assert modes[1]["groups"][modes[1]["of"][0]]["name"] == sample_labels()[paths[0]]


def test_the_largest_nine_of_many_groups_have_a_colour_each():
    from sondino.reporting.map import map_data
    from sondino.reporting.sounds import ReportClips

    def colours(groups: int) -> list[tuple[int, int]]:
        of = [f"g{i:02}" for i in range(groups) for _ in range(groups - i)]
        points = Points("", np.random.default_rng(0).standard_normal((len(of), 2)), of, [Mode("group", of)])
        found = map_data(points, ReportClips())["modes"][0]["groups"]
        assert [group["size"] for group in found] == list(range(groups, 0, -1))
        return [(group["colour"], group["shape"]) for group in found]

    assert [colour for colour, _ in colours(10)] == list(range(10))
    assert [colour for colour, _ in colours(60)] == [*range(9), *[9] * 51]
    assert {shape for _, shape in colours(60)[9:]} == {0} and len({shape for _, shape in colours(60)[:9]}) == 5


def test_table_curves_recipe_and_versions_are_reported(written):
    _, page, _, _ = written
    for text in ["What <mobilenetv3> kept", "81.0\u00a0%", "78.0–84.0", "4.1\u00a0MB", "0.832", "<i>kept</i>"]:
        assert text in page.text
    for text in ["optimiser.betas", "0.9, 0.999", "2.13 & more", "learning rate", "12×"]:
        assert text in page.text
    curves = page.data()["curves"]
    assert curves["places"] == [1, 2]  # an epoch written twice counts once, as written last
    loss, agreement = curves["charts"]
    assert loss["series"][0]["values"] == [0.9, 0.5]
    assert [s["values"] for s in agreement["series"]] == [[0.3, 0.6], [0.2, 0.4]]


def test_table_and_map_have_their_semantics(written):
    _, page, _, _ = written
    heads = [a for tag, a in page.tags if tag == "th"]
    assert heads and all(a.get("scope") in ("col", "row") for a in heads)
    for tag, attributes in page.tags:
        if attributes.get("role") in ("img", "region", "application"):
            assert attributes.get("aria-label") or attributes.get("aria-labelledby"), tag
    ids = {a["id"] for _, a in page.tags if a.get("id")}
    named = {a[key] for _, a in page.tags for key in ("aria-labelledby", "aria-describedby") if key in a}
    assert named <= ids
    assert ("html", {"lang": "en"}) in page.tags
    wanted = set(re.findall(r'getElementById\("([\w-]+)"\)', page.scripts[1])) - {"whose"}  # a choice of two maps
    assert wanted <= ids


def test_a_clip_named_like_a_tag_does_no_harm(tmp_path):
    name = "</script><script>alert(1)</script>"
    points = points_of(np.zeros((2, 2)), [0, 1], [name, "b"], [name, "x"])
    write_report(tmp_path / "r.html", name, [{"model": name}], [{"loss": 1.0, name: name}], points, {name: name}, {})
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert len(page.scripts) == 2
    assert page.data()["maps"][0]["id"][0] == name


def test_parts_that_are_missing_leave_a_page(tmp_path):
    write_report(tmp_path / "r.html", "Nothing yet", [], [], None, {}, {})
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.data() == {}
    assert "section" not in [tag for tag, _ in page.tags]


def test_sounds_are_capped_and_spread_over_clusters(tmp_path, monkeypatch):
    monkeypatch.setattr(report_map, "SOUNDS", 30)
    rng = np.random.default_rng(0)
    clusters = np.repeat([0, 1, 2], [180, 15, 5])
    asked = []

    def read(row):
        asked.append(row)
        return None if row == 199 else rng.standard_normal(8000).astype(np.float32)

    coordinates = rng.standard_normal((200, 2))
    coordinates[3] = np.nan
    points = points_of(coordinates, clusters, [f"clip{i}" for i in range(200)], None, read, 16000)
    write_report(tmp_path / "r.html", "Large", [], [], points, {}, {})
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    data = page.data()["maps"][0]
    assert len(data["id"]) == 199 and "clip3" not in data["id"]
    assert len(asked) == 30 and 3 not in asked
    with_sound = [id for id, sound in zip(data["id"], audio_of(page), strict=True) if sound]
    assert len(with_sound) == 29  # row 199 has no sound
    groups = np.array([clusters[int(id[4:])] for id in with_sound])
    assert np.bincount(groups).tolist() == [13, 12, 4]
    assert "29 have audio" in page.text and "1 more clips are not drawn" in page.text


def test_sounds_take_no_more_bytes_than_they_may():
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    sounds, asked = report_sounds.ReportClips(), []

    def read(row):
        asked.append(row)
        return noise

    places = [sounds.add(f"clip{i}", lambda i=i: read(i), 16000, 30_000) for i in range(50)]
    assert 0 < sum(map(len, sounds.uris)) == sounds.spent <= 30_000
    known = [place for place in places if place is not None]
    assert known == list(range(len(sounds.uris))) and len(known) < 50
    assert len(asked) == len(known) + 1  # what has no room is not read
    assert sounds.add("clip0", lambda: read(0), 16000, 0) == 0  # what is there is there
    assert sounds.add("more", lambda: read(99), 16000, 60_000) == len(known)
    assert not sounds.lost


def test_sounds_that_cannot_be_read_are_reported(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    sounds = report_sounds.ReportClips()
    assert sounds.add_file(tmp_path / "broken.wav") is None
    assert sounds.add_file(tmp_path / "gone.wav") is None
    assert sounds.add_file(tmp_path / "gone.wav") is None  # added twice, listed once
    assert [key for key, _ in sounds.lost] == [str(tmp_path / "broken.wav"), str(tmp_path / "gone.wav")]
    assert sounds.message().startswith("clips whose audio could not be read: 2, such as")
    assert (
        sounds.add_file(Path("no\0name")) is sounds.add_file(Path("long" * 2000)) is sounds.add_file(tmp_path) is None
    )
    assert len(sounds.lost) == 5


def test_parts_of_other_lengths_are_an_error(tmp_path):
    with pytest.raises(OptionError, match="one length"):
        write_report(tmp_path / "r.html", "x", [], [], points_of(np.zeros((3, 2)), [0, 1], ["a", "b", "c"]), {}, {})
    assert not (tmp_path / "r.html").exists()


def test_headline_compares_student_and_teacher():
    numbers = {number.name: number.value for number in headline_numbers(ROWS, METRICS)}
    assert numbers == {
        "smaller than teacher": "12×",
        "probe accuracy relative to teacher": "90\u00a0%",
        "cosine to teacher": "0.832",
        "10-NN overlap with teacher": "50\u00a0%",
        "ms per 10 s of audio": "8.0",
    }
    # Without a table the last epoch gives cosine and overlap.
    assert [number.value for number in headline_numbers([], METRICS)] == ["0.600", "40\u00a0%"]
    assert headline_numbers([], []) == []


def test_map_keeps_groups_together_and_repeats():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 40))
    groups = np.repeat(np.arange(4), 20)
    embeddings = centres[groups] + 0.1 * rng.standard_normal((80, 40))
    embeddings[7] = np.nan
    xy = map_2d(embeddings, seed=1)
    assert xy.shape == (80, 2)
    assert np.isnan(xy[7]).all() and np.isfinite(np.delete(xy, 7, 0)).all()
    gaps = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    gaps[7] = gaps[:, 7] = np.inf
    nearest = gaps.argmin(axis=1)
    assert (groups[nearest] == groups)[np.arange(80) != 7].all()
    # Repeats exactly, and cosine does not see length (powers of two change no digit).
    np.testing.assert_array_equal(xy, map_2d(embeddings * 2.0 ** rng.integers(-3, 4, (80, 1)), seed=1))
    x, y = np.delete(xy, 7, 0).T  # turned so that the long way lies across the page
    assert x.std() >= y.std() and abs(np.corrcoef(x, y)[0, 1]) < 1e-3


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 12])
def test_map_of_few_embeddings(n):
    xy = map_2d(np.random.default_rng(0).standard_normal((n, 16)))
    assert xy.shape == (n, 2) and np.isfinite(xy).all()


def test_map_of_equal_embeddings_and_of_one_dimension():
    assert np.isfinite(map_2d(np.ones((30, 8)))).all()
    assert np.isfinite(map_2d(np.linspace(-1, 1, 30)[:, None])).all()


def test_map_samples_many_embeddings():
    embeddings = np.random.default_rng(0).standard_normal((60, 8))
    drawn = [np.isfinite(map_2d(embeddings, seed, limit=25)).all(axis=1) for seed in (0, 0, 1)]
    assert drawn[0].sum() == 25
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_excerpt_is_the_loudest_part():
    rate = 16000
    x = 0.01 * np.sin(np.arange(10 * rate) * 0.3)
    x[5 * rate : 7 * rate] *= 20
    cut, out_rate = excerpt(x, rate)
    assert (len(cut), out_rate) == (3 * rate, rate)
    assert np.abs(cut).max() == pytest.approx(0.7)
    # Both loud seconds are in it, and one of the quiet ones, still as quiet beside them.
    assert (np.abs(cut) > 0.1).mean() == pytest.approx(2 / 3 * 0.91, abs=0.03)
    silent, _ = excerpt(np.zeros(100), rate)
    assert len(silent) == 4000 and not silent.any()
    broken, _ = excerpt(np.array([np.nan, np.inf, 0.5]), rate)
    assert np.isfinite(broken).all()
    assert excerpt(np.ones(44100), 44100)[1] == 24000
    assert len(excerpt(np.ones(44100), 44100)[0]) == 24000


def test_mp3_is_of_low_bit_rate():
    noise = (0.3 * np.random.default_rng(0).standard_normal(72000)).astype(np.float32)
    assert len(mp3(noise, 24000)) < 13_000  # 3 s at 32 kbit/s are 12,000 bytes


def test_outline_follows_the_sound():
    x = np.zeros(4800, np.float32)
    x[:100] = 1.0
    bars = outline(x)
    assert bars[0] == 100 and not any(bars[1:])
    assert outline(np.zeros(10, np.float32)) == [0] * 48

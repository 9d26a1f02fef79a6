"""The README and the manual say what the program does: commands, options, defaults, links, code and figures."""

import ast
import csv
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

import sondino
import sondino.corpus
from helpers import compression_tables
from sondino import cli
from sondino.errors import OptionError
from sondino.teachers import load_teacher
from sondino.teachers.catalogue import RECORDS
from sondino.teachers.spec import OPTIONS, parse_teacher

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MANUAL = (ROOT / "docs" / "manual.md").read_text(encoding="utf-8")
TEACHERS = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
USING = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
FLOWING = " ".join(MANUAL.split())  # a figure may stand at the end of a line
FLOWING_RESULTS = " ".join(RESULTS.split())
COMMAND = re.compile(r"(?:^|[\s\\/])sondino\s+(.+)")


def fenced(text: str, *languages: str) -> list[str]:
    """The code blocks of a page in some languages."""
    return [code for name, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if name in languages]


def spans(text: str) -> list[str]:
    """The `code` inside its prose; a span may run over the end of a line."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose)]


def commands(text: str) -> list[str]:
    """What stands after `sondino` in every command line of a page, comments left out."""
    lines = "\n".join(fenced(text, "bash", "")).replace("\\\n", " ").splitlines()
    found = [COMMAND.search(re.sub(r"(^|\s)#\s.*", "", line)) for line in [*lines, *spans(text)]]
    return [match[1].strip() for match in found if match and not re.search(r"\bpip3?\s+install\b", match.string)]


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is `first`, the headings left out."""
    lines = text[text.index(f"\n| {first} |") + 1 :].splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:end]]


def quoted(cell: str) -> str:
    return cell.strip("`")


COMMANDS = [(page.name, command) for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]


def parsed(command: str) -> dict[str, Any]:
    """The arguments of a command line, as the program reads it; nothing is run."""
    _, bound, _ = cli.app.parse_args(shlex.split(command), print_error=False, exit_on_error=False)
    arguments = dict(bound.arguments)
    entries = arguments.pop("entries", None)  # of a recipe
    return arguments | (vars(entries) if entries else {})


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_line_is_one_that_the_program_takes(page: str, command: str) -> None:
    name, *arguments = shlex.split(command)
    if not arguments:  # a command that is only mentioned
        assert name in set(cli.app), f"{page} names the command {name}"
        return
    given = parsed(command)
    for teacher in [given["teacher"]] if isinstance(given.get("teacher"), str) else given.get("teacher") or []:
        if not teacher.endswith("/"):  # the folder of a run
            parse_teacher(teacher)


def test_command_lines_are_found() -> None:
    found = [command.split()[0] for _, command in COMMANDS]
    assert {"distill", "corpus", "targets", "cluster", "embed", "check", "teachers", "models"} <= set(found)
    assert commands("```bash\nmake x  # sondino nope\nsondino embed a \\\n  --model m\n```\n`sondino\nteachers`") == [
        "embed a    --model m",
        "teachers",
    ]


@pytest.mark.parametrize("command", ["distil a --out b", "distill a --out b --nope 1", "probe a"])
def test_a_command_line_that_is_wrong_would_be_found(command: str) -> None:
    with pytest.raises(Exception, match=r"distil|nope|out"):
        parsed(command)


def test_options_in_the_prose_exist() -> None:
    known = {name for command in cli.app if not command.startswith("-") for name in options_of(cli.app[command])}
    for page in PAGES:
        for span in spans(page.read_text(encoding="utf-8")):
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", span):
                assert option in known, f"{page.name} names {option}"


def options_of(command: App) -> set[str]:
    """The options of a command, or of all in a group."""
    inner = [command[name] for name in command if not name.startswith("-")]
    if inner:
        return {name for one in inner for name in options_of(one)}
    return {name for argument in command.assemble_argument_collection() for name in argument.names}


def test_the_recipe_tables_are_the_recipes() -> None:
    pytest.importorskip("yaml")
    from helpers.recipe_table import TABLE, TABLES

    for page, table in TABLES.items():
        shown = TABLE.findall(page.read_text(encoding="utf-8"))
        assert shown == [table], f"the table of {page.name} is old: PYTHONPATH=tests python -m helpers.recipe_table"


def test_the_teachers_table_is_the_catalogue() -> None:
    table = {quoted(kind): (quoted(example), options) for kind, example, options, _ in rows(TEACHERS, "kind")}
    assert table.keys() == RECORDS.keys()
    for kind, (example, options) in table.items():
        assert example == RECORDS[kind].example
        assert tuple(options.split(", ")) == RECORDS[kind].options
        assert parse_teacher(example).kind == kind
    assert {quoted(option) for option, _ in rows(TEACHERS, "option")} == set(OPTIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_code_can_be_parsed(page: Path) -> None:  # test_names.py: its names exist
    for code in fenced(page.read_text(encoding="utf-8"), "python"):
        ast.parse(code, page.name)


def test_the_api_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    public = {f"sondino.{name}" for name in sondino.__all__ if name != "__version__"}
    stages = {f"sondino.corpus.{name}" for name in sondino.corpus.__all__}
    assert set(re.findall(r"^::: (\S+)$", page, re.M)) == public | stages


def test_the_encoder_of_the_manual_keeps_the_contract(tmp_path: Path) -> None:
    example = next(code for code in fenced(TEACHERS, "python") if "class " in code)
    file = tmp_path / "my_documented_teacher.py"
    file.write_text(example)
    encoder = load_teacher(f"module:{file}:make")
    assert encoder.name == "bands"
    assert sondino.check_encoder(encoder) == []
    with pytest.raises(OptionError, match="rate"):  # as the text below the example reports
        load_teacher(f"module:{file}:make?rate=16000")


def test_measured_figures_are_those_of_the_benchmarks() -> None:
    clusters = {row["rows"]: row for row in _results("clusters_memory")}
    for count in ("100000", "1000000"):
        assert f"{clusters[count]['peak_mb']} MB at {int(count):,}" in FLOWING
    assert f"{clusters['1000000']['before_mb']} MB are Python" in FLOWING
    assert f"clustered in {float(clusters['1000000']['seconds']):.0f} s" in FLOWING
    (sampling,) = _results("balanced_sampling")
    assert f"set up in {float(sampling['setup_s_median']):.3f} s" in FLOWING
    assert f"100,000 draws take {float(sampling['draw_s_median']):.3f} s" in FLOWING


def test_the_window_policy_in_numbers() -> None:
    shown = {row[0]: row[1:] for row in rows(USING, "recording")}
    for row in _results("window_policy"):
        what = row["what"].partition(",")[0]
        if row["cosine_median"]:
            percent = f"{row['sound_not_heard_percent']} %"
            assert shown[what] == [percent, row["cosine_median"], row["cosine_lowest"]]
        else:
            assert f"{row['probe_percent']} %" in USING


def test_the_speed_in_the_results_is_that_of_the_benchmark() -> None:
    found = {(row["set"], row["tool"], row["cores"]): row for row in _results("embed")}
    shown = rows(RESULTS, "two cores, after start")
    measured = [("full", True), ("effects", True), ("effects", False), ("mixed", True), ("mixed", False)]
    for cells, (name, padded) in zip(shown, measured, strict=True):
        ours = found[name, "sondino --short pad" if padded else "sondino", "2"]
        peer = found[name, "ssondo 0.3.1", "2"]
        kind = ours["difference"] or "different embeddings"
        for at, row in ((1, ours), (3, peer)):
            assert cells[at] == f"{float(row['files_per_s_after_start']):.0f} files/s"
            assert cells[at + 1] == f"{row['peak_mb']} MB"
        assert cells[5:] == [f"{float(ours['times_peer_after_start']):.1f}", kind]
    long = found["long", "sondino", "2"]
    assert f"of ten hours {long['peak_mb']} MB and {float(long['median_s']):.0f} s" in FLOWING_RESULTS


def test_the_accuracy_on_esc10_in_the_readme_is_what_was_measured() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = rows(text[text.index("<!-- esc10_kept.csv -->") :], "model")
    near = {row["model"]: float(row["neighbour_overlap"]) for row in _results("esc10_agreement")}
    for cells, row in zip(shown, _results("esc10_kept"), strict=True):
        value = f"{100 * float(row['esc10']):.1f} %"
        if row["role"] != "chance":
            value += f" ({100 * float(row['esc10_low']):.1f} to {100 * float(row['esc10_high']):.1f})"
        assert cells[1] == value
        reported = row["kept"] and row["role"] != "chance"
        assert cells[2] == (f"{100 * float(row['kept']):.1f} %" if reported else "")
        assert cells[3] == (f"{100 * near[row['model']]:.0f} %" if row["model"] in near else "")


@pytest.mark.parametrize("page", ["README.md", "docs/sondino-small.md"])
def test_the_scores_of_the_model_in_the_package_are_what_was_measured(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = {cells[0]: cells[1:] for cells in rows(text[text.index("<!-- sondino_small.csv -->") :], "model")}
    measured: dict[str, list[dict[str, str]]] = {}
    for row in _results("sondino_small"):
        measured.setdefault(row["role"], []).append(row)
    for name, role in {"sondino-small": "student", "mn04_as, its teacher": "teacher"}.items():
        values = [float(row["value"]) for row in measured[role] if "yamnet" not in row["model"]]
        spans = [(float(row["low"]), float(row["high"])) for row in measured[role] if "yamnet" not in row["model"]]
        cells = [f"{100 * v:.1f} % ({100 * a:.1f} to {100 * b:.1f})" for v, (a, b) in zip(values, spans, strict=True)]
        assert shown[name] == [*cells, f"{100 * sum(values) / 3:.1f} %"]


def test_the_scores_on_two_more_tasks_are_what_was_measured() -> None:
    text = (ROOT / "docs" / "sondino-small.md").read_text(encoding="utf-8")
    shown = {cells[0]: cells[1:] for cells in rows(text[text.index("<!-- unheard_tasks.csv -->") :], "model")}
    more, first = _results("unheard_tasks"), _results("sondino_small")
    means, values = {}, []
    for name, role in {"sondino-small": "student", "mn04_as, its teacher": "teacher", "YAMNet": "teacher"}.items():
        two, three = (
            [row for row in table if row["role"] == role and ("yamnet" in row["model"]) == (name == "YAMNet")]
            for table in (more, first)
        )
        means[name] = sum(float(row["value"]) for row in two + three) / 5
        cells = [
            f"{100 * float(row['value']):.1f} % ({100 * float(row['low']):.1f} to {100 * float(row['high']):.1f})"
            for row in two
        ]
        assert shown[name] == [*cells, f"{100 * means[name]:.1f} %"]
        values.append([f"{100 * float(row['value']):.1f}" for row in two])
    assert f"{100 * means['sondino-small'] / means['mn04_as, its teacher']:.0f} %" == "98 %"
    ours, its, yamnet = (f"{hits} and {notes} %" for hits, notes in values)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"(drum hits, notes), it has {ours}, its teacher {its}, and YAMNet {yamnet}." in readme


def test_the_agreement_of_the_labels_is_what_was_measured() -> None:
    text = (ROOT / "docs" / "sondino-small.md").read_text(encoding="utf-8")
    shown = rows(text[text.index("<!-- sondino_small_labels.csv -->") :], "sound")
    for cells, row in zip(shown, _results("sondino_small_labels"), strict=True):
        assert cells[1] == ("YAMNet" if "yamnet" in row["teacher"] else row["teacher"])
        shares = [f"{100 * float(row[name]):.0f} %" for name in ("top1", "in_first_five")]
        assert cells[2:] == [*shares, *(f"{float(row[name]):.2f}" for name in ("mAP", "calibration_error"))]


def test_the_sweeps_in_the_results_are_what_was_measured() -> None:
    found: dict[str, list[float]] = {}
    for row in _results("sweep_losses"):
        found.setdefault(row["loss"], []).append(100 * float(row["esc10"]))
    reported = [[n, f"{sum(v) / len(v):.1f} %", ", ".join(f"{x:.1f}" for x in v)] for n, v in found.items()]
    assert rows(RESULTS, "loss") == reported and max(reported, key=lambda row: row[1])[0] == "clap"
    uniform, *balanced = [100 * float(row["esc10"]) for row in _results("sweep_clusters")]
    assert f"{uniform:.1f} % for uniform sampling, {min(balanced):.1f} to {max(balanced):.1f} %" in FLOWING_RESULTS


def test_the_installations_in_the_comparison_are_what_was_measured() -> None:
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    shown = rows(text, "package | requirements")
    for cells, row in zip(shown, _results("comparison"), strict=True):
        first = row["again_cpu_s"] or "not run"
        offline = row["offline"] if row["first_s"] else "not run"
        took = row["install_cpu_s"] or "not measured"
        assert [quoted(cell) for cell in cells] == [
            *(row["package"], row["installed"], took, row["packages"], row["megabytes"], first, offline)
        ]


def test_the_cost_of_probes_in_the_manual_is_that_of_the_benchmark() -> None:
    text = (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8")
    measured = [row for row in _results("probe") if not row["case"].endswith("scikit-learn")]
    shown = [(cells[1], cells[2], cells[3]) for cells in rows(text, "probes")]
    reported = [
        (f"{int(r['clips']):,}", f"{float(r['seconds']):.0f}", f"{int(r['peak_mb']) / 1000:.1f} GB") for r in measured
    ]
    assert shown == reported


def ways(student: str) -> list[tuple[str, str, str]]:
    """Source, runtime and precision of each row of the tables of runtimes."""
    int8 = f"{student}-int8"
    return [
        *(
            (student, "onnxruntime", "float32"),
            (int8, "onnxruntime", "int8"),
            (student, "onnxruntime-graph", "float32"),
        ),
        *((int8, "onnxruntime-graph", "int8"), (student, "openvino", "float32"), (student, "openvino", "bfloat16")),
        *((f"{student}-litert-f32", "litert", "float32"), (f"{student}-litert-int8", "litert", "int8")),
        *((f"{student}-executorch-f32", "executorch", "float32"), (f"{student}-executorch-int8", "executorch", "int8")),
        (student, "torch", "float32"),
    ]


def speeds(source: str, runtime: str, precision: str, measured: list[dict[str, str]]) -> list[str]:
    """Megabytes on disk, milliseconds of 10 s on one core and in batches of 8 on two, megabytes of memory."""
    same = [row for row in measured if (row["source"].partition("#")[0], row["runtime"], row["precision"])
            == (source, runtime, precision) and row["seconds"] and float(row["seconds"]) == 10]  # fmt: skip
    found = {(row["threads"], row["batch"]): row for row in same}
    if not found:
        return ["–"] * 4
    one, two = found["1", "1"], found["2", "8"]
    times = [f"{float(row['milliseconds']):.1f} ms" for row in (one, two)]
    return [f"{float(one['file_bytes']) / 1e6:.1f} MB", *times, f"{float(one['peak_memory_bytes']) / 1e6:.0f} MB"]


def test_the_tables_of_runtimes_are_what_was_measured() -> None:
    text = RESULTS[RESULTS.index("<!-- edge.csv -->") :]
    measured = _results("edge")
    peers = [("yamnet.tflite", "litert", ""), ("birdnet", "litert", "")]
    shown = rows(text, "MobileNetV3 of 2.97 M parameters")
    for cells, way in zip(shown, [*ways("mobilenetv3"), *peers], strict=True):
        assert cells[1:5] == speeds(*way, measured)
    shown = rows(text, "ERes2Net of 1.37 M, DyMN of 8.64 M parameters")
    for cells, first, second in zip(shown, ways("eres2net"), ways("dymn"), strict=True):
        assert cells[1:7] == [*speeds(*first, measured)[:3], *speeds(*second, measured)[:3]]
    for row in _results("int8"):
        probed = 100 * float(row["probe_f32"]), 100 * float(row["probe_int8"])
        assert f"| {row['student']} | {row['f32_mb']} | {row['int8_mb']} | {float(row['cosine']):.4f} | " in text
        assert f"| {probed[0]:.1f} % | {probed[1]:.1f} % |" in text


def test_the_tables_of_compression_are_what_was_measured() -> None:
    for (file, mark), lines in compression_tables.tables().items():
        text = (ROOT / file).read_text(encoding="utf-8")
        shown = text[text.index(f"<!-- {mark} -->") : text.index("<!-- end -->", text.index(f"<!-- {mark} -->"))]
        assert shown.strip().splitlines()[1:] == lines


def _results(name: str) -> list[dict[str, str]]:
    with (ROOT / "benchmarks" / "results" / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_worked_out_figures_of_pretraining_follow_from_the_nets() -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    from sondino.pretraining.model import SIZES
    from sondino.pretraining.schedules import PUBLISHED_UPDATES, make_schedule

    page = " ".join((ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8").split())
    base = SIZES["base"]
    assert base.head is not None
    width, (narrow, blocks, _), (hidden, bottleneck, classes) = base.encoder.width, base.predictor, base.head
    patches, visible = 190, 57
    masked = patches - visible

    def depth_of(tokens: int, wide: int, depth: int) -> int:
        return depth * (12 * tokens * wide**2 + 2 * tokens**2 * wide)

    student, teacher = (depth_of(1 + n, width, base.encoder.depth) for n in (visible, masked))
    predictor = depth_of(1 + patches, narrow, blocks) + (1 + visible) * width * narrow
    head = masked * (width * hidden + hidden**2 + hidden * bottleneck + bottleneck * classes)
    others = patches * 256 * width + masked * 5 * narrow * width + head
    assert f"encoder {student / 1e9:.1f} G, the predictor {predictor / 1e9:.1f} G" in page
    assert (
        f"head {others / 1e9:.1f} G" in page
        and f"the teacher {teacher / 1e9:.1f} G and its head {head / 1e9:.1f} G" in page
    )
    products = 3 * (student + predictor + others) + teacher + head
    assert f"takes {products / 1e9:.1f} G multiply-adds" in page and f"That is {2 * products / 1e9:.0f} GFLOP" in page
    for name, peak in (("A100", 312e12), ("H100", 989e12)):
        seconds = 2 * products * 2048 / (0.3 * peak)
        days = seconds * PUBLISHED_UPDATES / 86400
        assert re.search(rf"{name}, .* \| {seconds:.2f} \| {days:.1f} days \| {days / 8:.2f} days", page)
    for crops in (64, 128, 256):
        kept = crops * 97.4e6
        assert f"| {kept / 1e9:.1f} GB | {(kept + 2.29e9) / 1e9:.1f} GB |" in page
    left = {n: math.exp(-sum(1 - (0.99995 + 4e-5 * u / n) for u in range(n))) for n in (10_000, 2_000)}
    assert f"= {100 * left[10_000]:.0f} % of the teacher" in page and f"2,000 updates {100 * left[2_000]:.0f} %" in page
    first, last = make_schedule(10_000, 1e-3).encoder_decay
    assert f"| {first:.5f} to {last:.5f} |" in page


def test_worked_out_figures_follow_from_what_is_stored() -> None:
    clips = 2_000_000
    from sondino.corpus.waveforms import rows_a_part

    part = rows_a_part(10.0)
    assert f"{clips * 3840 * 2 / 1e9:.1f} GB, checked at the start" in FLOWING
    assert f"{-(-clips // part):,} markers, one for {part} clips" in FLOWING
    assert f"{part * 10 * 16000 * 4 / 1e6:.0f} MB at 16 kHz, {part * 10 * 48000 * 4 / 1e6:.0f} MB at 48 kHz" in FLOWING
    assert f"= {clips * 10 * 32000 * 2 / 1e12:.2f} TB" in FLOWING
    assert f"{clips * 960 * 4 / 1e9:.1f} GB of embeddings at 960" in FLOWING


def test_the_table_of_labelling_is_that_of_the_benchmark() -> None:
    text = (ROOT / "docs" / "label.md").read_text(encoding="utf-8")
    with (ROOT / "benchmarks" / "results" / "label.csv").open(newline="") as file:
        found: dict[tuple[str, str], list[str]] = {}
        for row in csv.DictReader(file):
            cell = f"{100 * float(row['average_precision']):.1f} ± {100 * float(row['ap_standard_error']):.1f}"
            found.setdefault((row["set"], row["way"]), []).append(cell)
    assert {(cells[0], cells[1]): cells[2:] for cells in rows(text, "clips")} == found


def test_the_table_of_whole_commands_is_that_of_the_benchmark() -> None:
    text = RESULTS[RESULTS.index("<!-- speed.csv -->") :]
    ours = [
        ("mobilenetv3", tool) for tool in ("sondino", "sondino --resample always", "sondino before", "ssondo 0.3.1")
    ]
    others = ("sondino", "sondino before", "YAMNet in LiteRT", "BirdNET in LiteRT")
    tools = ours + [("small", tool) for tool in others]
    with (ROOT / "benchmarks" / "results" / "speed.csv").open(newline="") as file:
        full = {(r["model"], r["tool"], r["cores"]): r for r in csv.DictReader(file) if r["set"] == "full"}
    expected = [
        [*(f"{full[*tool, cores]['median_s']} s" for cores in "12"), f"{full[*tool, '2']['peak_mb']} MB"]
        for tool in tools
    ]
    assert [cells[2:] for cells in rows(text, "model")] == expected

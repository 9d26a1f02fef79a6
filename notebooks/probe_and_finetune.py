"""Your labelled audio and a small model: the accuracy of a linear probe, and what fine-tuning adds.

marimo edit notebooks/probe_and_finetune.py
python notebooks/probe_and_finetune.py --sounds my_labelled_sounds --model quickstart/bundle --out my_classifier
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Probe and fine-tune")

with app.setup:
    import csv
    from pathlib import Path
    from typing import Any

    import altair as alt
    import marimo as mo
    import numpy as np
    import pyarrow as pa

    from sondino import load
    from sondino.probing.embeddings import task_embeddings
    from sondino.probing.probe import probe
    from sondino.sample_sounds import sample_list
    from sondino.tasks.labelled import read_labelled


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Probe and fine-tune

    You have labelled audio and a small model. How well does the model separate your labels? A *linear probe* leaves
    the model frozen and fits one linear layer on its embeddings: it takes seconds and measures the embeddings
    alone. *Fine-tuning* trains the model too: it takes minutes, and is usually better with enough clips.

    Change anything here; everything that depends on it is computed again. Embeddings are cached, fine-tuning starts
    again.
    """)
    return


@app.cell(hide_code=True)
def _():
    given: Any = mo.cli_args()
    start = str(given.get("sounds") or sample_list())
    nearby = Path("quickstart/bundle")  # as `sondino quickstart` leaves it
    sounds = mo.ui.text(start, label="Audio: a folder with one subfolder per label, or a CSV list", full_width=True)
    bundle = mo.ui.text(
        str(given.get("model") or (nearby if (nearby / "config.json").exists() else "")),
        label="Model: a bundle, or a published name such as ssondo/matpac-mobilenetv3",
        placeholder="none: a small, randomly initialised one",
        full_width=True,
    )
    out = mo.ui.text(str(given.get("out") or "probe_and_finetune"), label="Output folder")
    epochs = mo.ui.slider(1, 60, value=int(given.get("epochs") or 3), label="Fine-tuning epochs", show_value=True)
    mo.vstack([sounds, bundle, mo.hstack([out, epochs], justify="start")])
    return bundle, epochs, out, sounds


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The data

    Clips of one label should differ in everything but the label: days, places, microphones. Where several clips were
    cut from one recording, a column `source` in the CSV keeps them on one side of every split; otherwise the test set
    would contain training data.
    """)
    return


@app.cell
def _(sounds):
    labelled = read_labelled(sounds.value)
    counts = labelled.targets().sum(axis=0)
    _notes = "".join(f"\n- {note}" for note in labelled.notes)
    mo.md(f"**{len(labelled.clips)} clips, {len(labelled.labels)} labels**.{_notes}")
    return counts, labelled


@app.cell(hide_code=True)
def _(counts, labelled):
    _table = pa.table({"label": list(labelled.labels), "clips": counts})
    mo.vstack(
        [alt.Chart(_table, width="container").mark_bar().encode(x="clips", y=alt.Y("label", sort="-x", title=None))]
    )
    return


@app.cell(hide_code=True)
def _(bundle):
    _random = (
        "No model was named, so this is a small, randomly initialised student: a baseline, since even random weights "
        "separate drums from choirs. `sondino quickstart` makes a trained one."
    )
    _text = "It gives one embedding per clip, the only input of the probe." if bundle.value else _random
    mo.md(f"## The model\n\n{_text}")
    return


@app.function
def untrained(folder):
    """A small, randomly initialised student, as a bundle in a folder."""
    import torch

    from sondino.audio.reading import read
    from sondino.model.torch_model import TorchModel
    from sondino.model.write import write_bundle
    from sondino.nets.registry import build_student

    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        student = build_student("mobilenetv3", 0.2)
        clip = read(sample_list().parent / "audio" / "guit_harmonics.ogg", student.logmel.sample_rate)
        write_bundle(TorchModel(student, "untrained", window=1.0, short="repeat"), folder, [clip])
    return folder


@app.cell
def _(bundle, out):
    with mo.status.spinner("Opening the model"):
        model = load(bundle.value or untrained(Path(out.value) / "untrained"))
    _size = f"{model.config['parameters'] / 1e6:.2f} M parameters" if "parameters" in model.config else ""
    mo.md(f"**{model.name}**: embedding dimension {model.dim}, windows of {model.window or 10:g} s, {_size}")
    return (model,)


@app.cell
def _(labelled, model, out):
    with mo.status.spinner("Computing embeddings") as _spinner:
        embedded, embeddings, _ = task_embeddings(
            model,
            labelled,
            Path(out.value) / "vectors",
            progress=lambda done, total: _spinner.update(subtitle=f"{done} of {total} clips"),
        )
    mo.md(f"**{len(embeddings)} embeddings**. {len(labelled.clips) - len(embeddings)} clips could not be decoded.")
    return embedded, embeddings


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The probe

    Cross-validation: the folds of your list, else five, or fewer where a label has fewer clips. A linear
    layer is trained on all folds but one and tested on that one, in turn, so that every clip is tested once by a
    layer that was not trained on it. The chance level is that of the most frequent label.
    """)
    return


@app.cell
def _(embedded, embeddings):
    with mo.status.spinner("Fitting linear layers"):
        found = probe(embeddings, embedded, seeds=1)
    return (found,)


@app.function(hide_code=True)
def percent(value):
    """A share as text."""
    return f"{100 * value:.1f} %"


@app.cell(hide_code=True)
def _(found):
    _low, _high = found.interval95
    mo.hstack(
        [
            mo.stat(
                percent(found.value),
                "linear probe",
                f"95 % interval {percent(_low)} to {percent(_high)}",
                bordered=True,
            ),
            mo.stat(percent(found.knn), "10 nearest neighbours", "no training", bordered=True),
            mo.stat(percent(found.chance), "chance level", "the most frequent label", bordered=True),
        ],
        widths="equal",
        wrap=True,
    )
    return


@app.cell(hide_code=True)
def _(found, embedded):
    mo.md(
        f"The score is the {found.metric}; the interval is {found.interval}. "
        + ("" if embedded.multi_label else "Below, the confusion matrix: mistakes are off the diagonal.")
    )
    return


@app.cell
def _(found, embedded):
    truth = embedded.targets()[found.rows].argmax(axis=1)
    guessed = found.probabilities.argmax(axis=1)
    matrix = np.zeros((len(embedded.labels), len(embedded.labels)), int)
    np.add.at(matrix, (truth, guessed), 1)
    return guessed, matrix, truth


@app.cell(hide_code=True)
def _(embedded, matrix):
    mo.stop(embedded.multi_label)
    _names = embedded.labels
    _share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    _cells = pa.table(
        {
            "truth": np.repeat(_names, len(_names)),
            "predicted": np.tile(_names, len(_names)),
            "clips": [str(clips or "") for clips in matrix.ravel()],
            "share": _share.ravel(),
        }
    )
    _base = alt.Chart(_cells, width="container", height=alt.Step(28)).encode(
        x=alt.X("predicted", axis=alt.Axis(orient="top", labelAngle=-40)), y="truth", tooltip=list(_cells.column_names)
    )
    _blues = alt.Scale(domain=[0, 1], range=["#f4f7fb", "#1f5fa8"])
    _tiles = _base.mark_rect().encode(color=alt.Color("share", scale=_blues, legend=None))
    _ink = alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#333"))
    mo.vstack([_tiles + _base.mark_text().encode(text="clips", color=_ink)])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The mistakes

    The most confident ones first. Some will be wrong labels rather than wrong predictions: listen to them.
    """)
    return


@app.function(hide_code=True)
def player(clip, text):
    """An audio player with a line of text under it."""
    from sondino.audio.reading import read

    return mo.vstack([mo.audio(read(clip.path, 32000), 32000), mo.md(text)])


@app.cell
def _(found, guessed, embedded, truth):
    mo.stop(embedded.multi_label)
    _wrong = np.flatnonzero(guessed != truth)
    _worst = _wrong[np.argsort(-found.probabilities[_wrong].max(axis=1))][:4]
    _players = [
        player(
            embedded.clips[found.rows[place]],
            f"**{embedded.labels[truth[place]]}**, predicted {embedded.labels[guessed[place]]} "
            f"({percent(found.probabilities[place].max())})",
        )
        for place in _worst
    ]
    mo.hstack(_players, justify="start", wrap=True)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Fine-tuning

    Now the backbone is trained too. The head is initialised with the probe; some clips are held out to choose the best
    epoch. A few epochs are enough to see whether it helps. A stopped run resumes from the last complete epoch.
    Switch it off while you change settings above.
    """)
    return


@app.cell(hide_code=True)
def _():
    wanted = mo.ui.switch(value=True, label="Fine-tune")
    mo.vstack([wanted])
    return (wanted,)


@app.cell
def _(bundle, epochs, model, out, sounds, wanted):
    from sondino.finetuning.finetune import finetune

    mo.stop(not wanted.value)
    _folder = Path(out.value) / f"finetuned-{Path(bundle.value or 'untrained').name}-{epochs.value}"
    with mo.status.spinner("Fine-tuning", "the terminal shows the progress"):
        tuned = finetune(sounds.value, model, _folder, epochs=epochs.value)
    return (tuned,)


@app.cell(hide_code=True)
def _(tuned):
    def _row(what, score):
        low, high = (percent(end) for end in score.interval95)
        return {"on the held-out clips": what, score.metric: percent(score.value), "95 % interval": f"{low} to {high}"}

    mo.vstack(
        [
            mo.ui.table(
                [_row("linear probe before fine-tuning", tuned.probe), _row("fine-tuned", tuned.score)],
                selection=None,
                show_data_types=False,
                show_download=False,
                show_search=False,
                column_widths={"on the held-out clips": 320},
            ),
            mo.md(
                f"Scored on {tuned.score.clips} clips: {tuned.score.on}. Epoch {tuned.best} of {tuned.epochs} was kept"
                + (", the initialisation: no epoch was better." if tuned.best == 0 else ".")
                + " If the intervals overlap, label more clips before you trust the difference."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Try it

    The fine-tuned model is a bundle like any other. It needs no PyTorch: `sondino classify FOLDER --model BUNDLE`.
    """)
    return


@app.cell
def _(embedded):
    asked = mo.ui.dropdown(
        {clip.id: clip for clip in embedded.clips}, value=embedded.clips[0].id, label="Clip", searchable=True
    )
    mo.vstack([asked])
    return (asked,)


@app.cell
def _(asked, tuned):
    classifier = load(tuned.out)
    assert classifier.head is not None
    _sure = classifier.classify([asked.value.path])[0]
    _top = np.argsort(-_sure)[:5]
    _answers = pa.table(
        {"label": [classifier.head.labels[place] for place in _top], "probability": _sure[_top].astype(float)}
    )
    _bars = (
        alt.Chart(_answers, width=380)
        .mark_bar()
        .encode(x=alt.X("probability", scale=alt.Scale(domain=[0, 1])), y=alt.Y("label", sort=None, title=None))
    )
    mo.hstack([player(asked.value, f"labelled **{', '.join(asked.value.labels)}**"), _bars], justify="start")
    return


@app.cell
def _(found, embedded, out):
    _file = Path(out.value) / "predictions.csv"
    _predicted = found.probabilities.argmax(axis=1)
    with _file.open("w", newline="", encoding="utf-8") as _opened:
        _writer = csv.writer(_opened)
        _writer.writerow(["path", "truth", "predicted", "probability"])
        for _row, _label, _sure in zip(found.rows, _predicted, found.probabilities.max(axis=1), strict=True):
            _clip = embedded.clips[_row]
            _writer.writerow([_clip.id, ";".join(_clip.labels), embedded.labels[_label], f"{_sure:.4f}"])
    mo.md(f"The predictions for every held-out clip are in `{_file}`.")
    return


if __name__ == "__main__":
    app.run()

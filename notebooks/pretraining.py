"""A teacher from sound alone: pretrain an encoder, distil a student from it, probe both, export the student.

marimo edit notebooks/pretraining.py
python notebooks/pretraining.py --sounds my_labelled_sounds --updates 2000 --out my_encoder
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Pretraining")

with app.setup:
    import json
    from pathlib import Path
    from typing import Any

    import altair as alt
    import marimo as mo
    import pyarrow as pa

    from sondino import distill, evaluate, export, load, pretrain
    from sondino.audio.reading import read
    from sondino.sample_sounds import sample_list


@app.cell(hide_code=True)
def _():
    mo.md("""
    # A teacher from sound alone

    You have recordings, no labels, and no model that was trained on sound like yours. *Pretraining* makes one: an
    encoder sees some patches of a spectrogram and predicts what a moving average of itself makes of the others. It is
    then a teacher: a small *student* learns its embeddings.

    The clips that ship with sondino are four minutes of sound, and the updates below take a minute: enough to see each
    step, and not to learn much. Take your own sound, and thousands of updates.
    """)
    return


@app.cell(hide_code=True)
def _():
    given: Any = mo.cli_args()
    start = str(given.get("sounds") or sample_list())
    sounds = mo.ui.text(start, label="Audio: a folder with one subfolder per label, or a CSV list", full_width=True)
    out = mo.ui.text(str(given.get("out") or "pretraining"), label="Output folder")
    updates = mo.ui.number(1, 1_000_000, value=int(given.get("updates") or 20), label="Updates")
    crop = mo.ui.number(0.2, 60, value=float(given.get("crop") or 1.0), label="Seconds of a crop")
    mo.vstack([sounds, mo.hstack([out, updates, crop], justify="start")])
    return crop, out, sounds, updates


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Pretrain

    Labels are not read here. A run that is there already is resumed, or used if it has finished; other settings go into
    a folder of their own.
    """)
    return


@app.cell
def _(crop, out, sounds, updates):
    place = Path(out.value) / f"{updates.value}-updates-of-{crop.value:g}-s"
    with mo.status.spinner("Pretraining", "the terminal shows the progress"):
        encoder = load(
            pretrain(
                sounds.value, out=place / "encoder", size="tiny", updates=updates.value, crop=crop.value, batch_size=8
            )
        )
    mo.md(f"**{encoder.config['parameters'] / 1e6:.2f} M parameters**, embedding dimension {encoder.dim}")
    return (place,)


@app.cell
def _(place):
    measured = [json.loads(line) for line in (place / "encoder" / "metrics.jsonl").read_text().splitlines()]
    return (measured,)


@app.cell(hide_code=True)
def _(measured):
    _titles = {"prediction_loss": "loss of prediction", "deviation": "targets' deviation", "perplexity": "classes"}
    _charts = []
    for _key, _title in _titles.items():
        _table = pa.table({"update": [row["update"] for row in measured], _title: [row[_key] for row in measured]})
        _y = alt.Y(_title, scale=alt.Scale(zero=False))
        _charts.append(alt.Chart(_table, width=220, height=160).mark_line(point=True).encode(x="update", y=_y))
    mo.vstack(
        [
            mo.hstack(_charts, justify="start", wrap=True),
            mo.md(
                "A small loss alone says nothing: it is also small where the encoder gives everything one output. See "
                "the deviation too (unrelated targets have 1; under 0.1 it has collapsed), and the classes in use."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Distil

    The run's folder is the teacher. The student is a convolutional network with fewer operations; an epoch or two show
    how it goes.
    """)
    return


@app.cell
def _(crop, place, sounds):
    with mo.status.spinner("Distilling", "the terminal shows the progress"):
        student = distill(
            sounds.value,
            teacher=str(place / "encoder"),
            out=place / "student",
            width=0.1,
            clip=crop.value,
            epochs=1,
            page=False,
        )
    return (student,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Evaluate

    Now the labels are read: a linear probe on frozen embeddings of the encoder, of the student, and of the encoder's
    network before training. Where the intervals overlap, nothing is shown.
    """)
    return


@app.cell
def _(place, sounds, student):
    with mo.status.spinner("Probing", "the terminal shows the progress"):
        found = evaluate([str(place / "encoder"), str(student)], place / "evaluation", tasks=[sounds.value], seeds=1)
    return (found,)


@app.cell(hide_code=True)
def _(found):
    def _row(score):
        low, high = score["interval95"]
        value = f"{100 * score['value']:.1f} %"
        return {"model": score["model"], "accuracy": value, "95 % interval": f"{100 * low:.1f} to {100 * high:.1f} %"}

    _rows = [_row(score) for score in found.results["scores"]]
    mo.ui.table(_rows, selection=None, show_data_types=False, show_download=False, show_search=False)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Export

    One file that takes a waveform, for ONNX Runtime without PyTorch and without sondino.
    """)
    return


@app.cell
def _(place, student):
    with mo.status.spinner("Exporting"):
        facts = export(student, "onnx", place / "exported")
    return (facts,)


@app.cell
def _(facts, place, student):
    from onnxruntime import InferenceSession

    session = InferenceSession(place / "exported" / facts["file"])
    model = load(student)
    waveform = read(sample_list().parent / "audio" / "guit_harmonics.ogg", model.sample_rate)[None, : model.sample_rate]
    vector = session.run(None, {session.get_inputs()[0].name: waveform})[0]
    mo.md(f"`{place / 'exported' / facts['file']}` gives {vector.shape[1]} numbers for a clip.")
    return


if __name__ == "__main__":
    app.run()

"""What a user can get wrong with other runtimes, int8, the bench and the page."""

import socket
from contextlib import suppress

from helpers.bad_inputs import TINY, Place, mistake
from sondino.audio.clips import real_clips
from sondino.teachers import load_teacher

X = "Other runtimes and int8"


def exported(p: Place, *options: object, bundle: object = None, to: str = "onnx") -> None:
    p.command("export", bundle or p.bundle("mine"), "--to", to, "--out", p.folder / "out", *options)


def quantised(p: Place, *options: object) -> None:
    p.command("quantize", p.bundle("mine"), "--out", p.folder / "out", *options)


mistake(X, "what is no bundle", "torch")(lambda p: exported(p, bundle=p.file("in/letter.txt", "dear").parent))
mistake(X, "a bundle of no student", "torch")(lambda p: exported(p))
mistake(X, "int8 and no sound to calibrate on", "torch")(lambda p: exported(p, "--precision", "int8"))
mistake(X, "sound to calibrate on, and not int8", "torch")(lambda p: exported(p, "--calibrate", p.folder))
mistake(X, "a window, and any length too", "torch")(lambda p: exported(p, "--window", "1", "--dynamic"))
mistake(X, "a page that takes log-mels", "torch")(lambda p: exported(p, "--body-only", to="web"))
mistake(X, "a folder that holds something else", "torch")(lambda p: (p.file("out/letter.txt", "dear"), exported(p)))
mistake(X, "a bundle of no student, to int8", "torch")(
    lambda p: quantised(p, "--calibrate", p.wav("sounds/a.wav").parent)
)

mistake(X, "sounds to calibrate on that are all broken")(
    lambda p: real_clips(16000, 16000, "pad", p.file("sounds/a.wav", "RIFF").parent)
)
mistake(X, "one sound alone to calibrate on")(lambda p: real_clips(16000, 16000, "pad", p.wav("sounds/a.wav").parent))
mistake(X, "an ONNX file that is cut short")(
    lambda p: load_teacher(f"onnx:{p.file('model.onnx', (TINY / 'model.onnx').read_bytes()[:200])}?rate=16000")
)


def unknown_operator(p: Place) -> None:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "n"]) for name in ("waveform", "vector")]
    graph = helper.make_graph([helper.make_node("Wavelet", ["waveform"], ["vector"])], "net", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    load_teacher(f"onnx:{p.file('model.onnx', model.SerializeToString())}?rate=16000")


mistake(X, "an ONNX file with an operator that ONNX Runtime has not", "onnx")(unknown_operator)

B = "Timing side by side"


def benched(p: Place, *options: object) -> None:
    p.command("bench", *options, "--out", p.folder / "bench", "--quiet")


mistake(B, "no model")(lambda p: benched(p))
mistake(B, "a folder that is no bundle")(lambda p: benched(p, p.file("in/letter.txt", "dear").parent))
mistake(B, "a runtime that is none")(lambda p: benched(p, TINY, "--runtime", "torchy"))
mistake(B, "threads that are no number")(lambda p: benched(p, TINY, "--threads", "two"))
mistake(B, "a clip of no length")(lambda p: benched(p, TINY, "--seconds", "0"))

W = "The page"


def shown(p: Place, *options: object) -> None:
    p.command("demo", TINY, *options)


def taken(p: Place) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else's, which is a port that is taken too
            server.bind(("127.0.0.1", 8017))
            server.listen()
        shown(p)


mistake(W, "a port that is none")(lambda p: shown(p, "--port", "70000"))
mistake(W, "a port that is taken")(taken)

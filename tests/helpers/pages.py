"""A page of a report as the tests read it, without a browser."""

import base64
import html.parser
import io
import json

import numpy as np
import soundfile

VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(html.parser.HTMLParser):
    """Tags, attributes, text and scripts of a page; fails where a tag is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data + " "

    def data(self):
        return json.loads(self.scripts[0])


def audio_of(page):
    """The audio of each point of the first map as a data URI, or None."""
    data = page.data()
    return [None if place < 0 else data["sounds"]["uri"][place] for place in data["maps"][0]["sound"]]


def decoded(uri):
    """A data URI decoded: mono samples and their rate."""
    kind, _, code = uri.partition(";base64,")
    assert kind == "data:audio/mpeg"
    return soundfile.read(io.BytesIO(base64.b64decode(code)))


def likeness(sound, original):
    """How well two waveforms match at the best shift, 0 to 1: a decoder's start may lie a little off."""
    size = len(sound) + len(original) - 1
    shifted = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(original, size).conj(), size)
    return shifted.max() / (np.linalg.norm(sound) * np.linalg.norm(original))

"""One page of a report: everything inside one HTML file, and nothing loaded from the network."""

import base64
import hashlib
import html
import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sondino.files import write_whole
from sondino.version import __version__

ASSETS = Path(__file__).parent / "page"

LARGEST = 1e100
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def asset(name: str) -> str:
    """The text of a file of the page: style, script or a part in HTML."""
    return (ASSETS / name).read_text(encoding="utf-8")


def fill(name: str, **parts: str) -> str:
    """A part in HTML with its placeholders filled; the values must be HTML already."""
    return string.Template(asset(name)).substitute(parts)


def text(value: object) -> str:
    """Anything as text that is safe in HTML, attributes included."""
    return html.escape(str(value), quote=True)


def number(value: object) -> float | None:
    """A number of a size that can be drawn, or None for anything else."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(-LARGEST < value < LARGEST):
        return float(value)
    return None


def write_page(
    file: Path,
    title: str,
    lead: str,
    sections: Iterable[str],
    data: Mapping[str, Any],
    scripts: Sequence[str] = (),
) -> None:
    """Write a page, replacing `file` only once it is whole.

    Args:
        file: where to; its folder must exist.
        title: heading of the page.
        lead: text under the title; "" for none.
        sections: HTML, in order; empty ones are left out.
        data: what the scripts read: JSON of finite numbers.
        scripts: of the folder page/, after base.js.

    Raises:
        RunError: it cannot be written.
    """
    # One script, allowed by its hash: no other script in the page runs.
    script = '"use strict";\n(() => {\n' + "\n".join(asset(name) for name in ("base.js", *scripts)) + "\n})();"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    body = "\n".join(section for section in sections if section)
    page = fill(
        "report.html",
        title=text(title),
        skip='<a class="skip" href="#results">Skip to the results</a>' if 'id="results"' in body else "",
        lead=f'<p class="lead">{text(lead)}</p>' if lead else "",
        body=body,
        version=text(__version__),
        css=asset("report.css"),
        digest=digest,
        js=script,
        # No "<" may stand in a script element: a clip could be named "</script>".
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )
    write_whole(file, shown(page).encode())


def shown(name: str) -> str:
    """Text as it can be shown: bytes that are not UTF-8, which file names may hold, become U+FFFD."""
    return _NO_TEXT.sub("\ufffd", name)


def section(name: str, title: str, content: str, note: str = "", kind: str = "") -> str:
    """A card with a heading; `name` is its anchor, `title` and `note` are text, `content` is HTML."""
    lead = f'<p class="note">{text(note)}</p>' if note else ""
    style = f' class="{kind}"' if kind else ""
    return f'<section{style} aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>{lead}{content}</section>'


def scrolling(label: str, content: str) -> str:
    """A table that scrolls sideways by itself where it is too wide, also with the keyboard.

    Args:
        label: its name, which no other region or section of the page has.
        content: HTML.
    """
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{content}</div>'


def notes_section(notes: Sequence[str]) -> str:
    """The notes as a list, or nothing."""
    if not notes:
        return ""
    return section("notes", "Notes", "<ul>" + "".join(f"<li>{text(note)}</li>" for note in notes) + "</ul>")


def pairs_table(title: str, settings: Mapping[str, Any]) -> str:
    """Settings, nested as they are, as a table of two columns under a title."""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>' for name, value in flat(settings)
    )
    return f"<div><h3>{text(title)}</h3><table><tbody>{rows}</tbody></table></div>" if rows else ""


def flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            pairs += flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            pairs.append((name, ", ".join(map(str, value)) or "–"))
        else:
            pairs.append((name, "–" if value is None else str(value)))
    return pairs


def details_section(tables: Iterable[str], more: str = "") -> str:
    """How it was made: tables of two columns side by side, and further HTML; closed at first."""
    pairs = "".join(tables)
    if not pairs and not more:
        return ""
    return f'<details class="card"><summary>How this was made</summary><div class="pairs">{pairs}</div>{more}</details>'

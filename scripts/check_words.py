"""Refuse words that have a standard term in the field: python scripts/check_words.py [--roots PATH ...].

Prose is what people read: Markdown, docstrings, comments, and strings with a space in them (a string of one word is a
key or a file format's name). Names are those of functions, classes, variables and attributes. `Code` in
backticks, fenced code and doctests are no prose. Prints FILE:LINE, the word and the better word; exits with 1.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
ROOTS = (
    *(
        "src",
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "findings",
        "LICENCES.md",
        "docs",
        "examples",
        "notebooks",
        "recipes",
    ),
    *("web/index.html", "web/label.html", "web/src", "web/public", "benchmarks/LOG.md"),
)


@dataclass(frozen=True)
class Word:
    """A refused word: regular expressions without case, where a space is any white space.

    Args:
        better: what to write instead.
        prose: matched against prose, as whole words.
        names: matched against every name, in lower case and with spaces for underscores ("load esc table").
        definitions: the same, against names of functions and classes alone.
        outer: the same, against all names but those inside functions, where these are plain English.
    """

    better: str
    prose: str = ""
    names: str = ""
    definitions: str = ""
    outer: str = ""


HEAR = "hears?|heard|hearing|unheard"
TELL = "tells?|told"
WORDS = (
    Word(
        "process, embed (a model); decode (a file); play, listen to (a person)",
        prose=HEAR,
        names=rf"(?<!load )\b({HEAR})\b",
    ),
    Word("print, report, state; message, format_*, notes", prose=TELL, names=r"\b(tells|told|said|says?)\b"),
    Word("embedding(s)", prose="vectors?"),
    Word("message", prose="sentences?", names=r"\bsentences?\b"),
    Word("training data", prose="lessons?", names=r"\blessons?\b"),
    Word("BatchNorm statistics are recalibrated; converge", prose="settl(e|es|ed|ing)", names=r"\bsettled?\b"),
    Word("distilled into", prose="taught"),
    Word("unseen labels", prose="unlearnt|unlearned", names=r"\bunlearnt\b"),
    Word("cross-entropy", prose="surprise", names=r"\b(surprise|doubt)\b"),
    Word("evaluate, score", prose="judg(e|es|ed|ing)", names=r"\bjudged?\b"),
    Word("validation score", prose="merits?", names=r"\bmerits?\b"),
    Word("more, most confident", prose="surer|surest"),
    Word("cross-validated, unbiased", prose="honest(ly)?"),
    Word("without padding (variable length)", prose="(at|of) (its|their) own length"),
    Word("10-NN overlap with teacher", prose="(neighbours|nearest) in common|neighbours shared|shared neighbours"),
    Word("relative to teacher", prose=r"\| of the teacher \|"),
    Word("randomly initialised", prose="the same net untrained|untrained net"),
    Word("chance level", prose="know(s|ing) nothing|chance weights"),
    Word("silently", prose="without a word"),
    Word("concurrent", prose="well side by side"),
    Word("window", prose="looks? of the teacher"),
    Word("resume", prose="(go|goes|going) on (where|from)|went on where"),
    Word("Pruning", prose="# fewer filters"),
    Word("Export", prose="# to the edge"),
    Word("Resource use", prose="# on a small machine"),
    Word("Evaluation", prose="# what a student keeps"),
    Word("BatchNorm", prose="batch norms?"),
    Word("norm_ok, norm_outliers", prose="unsteady", names=r"^_?(un)?steady$"),
    Word("mean_pairwise_cosine", names="^_?alike$"),
    Word("C (inverse regularisation)", names=r"^_?strengths?$"),
    Word("check_*", names=r"^_?refuse\b"),
    Word("EvaluatedModel, add_model", names="^_?(entrants?|enter)$"),
    Word("PaddedEncoder", definitions="^_?filled$"),
    Word("accepts_window, windows_up_to_longest_clip", definitions="^_?(takes|enough)$"),
    Word("iter_windows, Windowing, resolve_windowing", definitions="^_?(cut|cutting)$"),
    Word("splits, make_splits, Fold", definitions="^_?(part|parting|round)$"),
    Word("results_header", definitions="^_?about$"),
    Word("fingerprint", definitions="^_?identity$"),
    Word("lock_or_fail, lock_and_wait", names="^_?only (one|here)$"),
    Word("check_same_config, broadcast_from_main", names="^_?(same start|from first)$"),
    Word("assemble, suppress_*", definitions="^_?(whole|hushed|quiet)$"),
    Word("a name by use: CalibrationClips, LabelledClips", definitions="^_?sounds$"),
    Word("MINIMUM_COSINE, LITERT_INT8_COSINE, ONNX_INT8_COSINE", outer="^_?(promised|enough)$"),
    Word("load_weights", definitions="^_?filling$"),
    Word("MAX_*, MIN_* with what it bounds", outer="^_?(longest|shortest)$"),
    Word("a name that one can search for: read_esc_table", definitions="^_(read|clips)$"),
)

ALLOWED = re.compile(
    r"\bHEAR\b|\bhear-(?:eval|validator)\b|\bsondino\.hear\b|\bhear:|\bhear\.py\b"  # the benchmark and its API
    r"|\\?[\"']vectors?\\?[\"']"  # a key in quotes
    r"|\b(?:unit|basis|singular|support|zero) vectors?\b"  # of linear algebra
)
CODE = re.compile(r"```.*?```|`[^`]*`|<!--.*?-->|(?<=\])\([^)\s]*\)|^\s*(?:>>>|\.\.\.) .*?$", re.S | re.M)


@dataclass(frozen=True)
class Finding:
    """A refused word and where it stands."""

    file: Path
    line: int
    word: str
    better: str

    def __str__(self) -> str:
        place = self.file.relative_to(PROJECT) if self.file.is_relative_to(PROJECT) else self.file
        return f"{place}:{self.line}: {self.word!r}: write {self.better}"


def main() -> None:
    """Check the files of the roots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", nargs="+", type=Path, default=[PROJECT / root for root in ROOTS], metavar="PATH")
    found = [finding for file in files(parser.parse_args().roots) for finding in check(file)]
    if found:
        sys.exit("\n".join([*map(str, found), f"{len(found)} words to replace"]))


def files(roots: list[Path]) -> list[Path]:
    """Every file below the roots that can be read for words."""
    below = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    made = {"node_modules", "page"}  # the demo page as built into the package
    return [path for path in below if path.suffix in READERS and not made & set(path.parts)]


def check(file: Path) -> Iterator[Finding]:
    """The refused words of one file."""
    for kind, line, text in dict.fromkeys(READERS[file.suffix](file.read_text(encoding="utf-8"))):
        if kind == "prose":
            text = blank(ALLOWED, blank(CODE, text))
        else:
            text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=\w)_", " ", text).lower()
        for word in WORDS:
            if pattern := pattern_of(word, kind):
                for match in pattern.finditer(text):
                    yield Finding(file, line + text.count("\n", 0, match.start()), match[0], word.better)


def pattern_of(word: Word, kind: str) -> re.Pattern[str] | None:
    """What a kind of text must not match: "prose", "local", "name" or "definition"."""
    if kind == "prose":
        return re.compile(rf"(?<!\w)(?:{word.prose})(?!\w)".replace(" ", r"\s+"), re.I) if word.prose else None
    outer = word.outer if kind != "local" else ""
    definitions = word.definitions if kind == "definition" else ""
    patterns = [part for part in (word.names, outer, definitions) if part]
    return re.compile("|".join(patterns)) if patterns else None


def blank(pattern: re.Pattern[str], text: str) -> str:
    """The text with matches overwritten by dots, so that lines keep their numbers."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", ".", match[0]), text)


Piece = tuple[str, int, str]
"""Kind, line, text."""


def python(text: str) -> Iterator[Piece]:
    """Names, comments and strings of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name == "COMMENT" and not re.match(r"#\s*(noqa|type:)", token.string):
            yield "prose", token.start[0], token.string
        elif name in ("STRING", "FSTRING_MIDDLE") and " " in token.string.strip():
            fields = r"\{[^{}]*\}" if re.match("[a-z]*f", token.string, re.I) else r"$^"
            yield "prose", token.start[0], blank(re.compile(fields), token.string)
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield "definition", node.lineno, node.name
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield "name", node.lineno, node.attr
        if isinstance(node, ast.arg):
            yield "local", node.lineno, node.arg
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stored = (one for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
            yield from (("local", one.lineno, one.id) for one in stored)
        if isinstance(node, ast.Module | ast.ClassDef):
            for line in node.body:
                targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
                names = [one for target in targets if target is not None for one in ast.walk(target)]
                yield from (("name", line.lineno, one.id) for one in names if isinstance(one, ast.Name))


def typescript(text: str) -> Iterator[Piece]:
    """Names, comments and strings of TypeScript, JavaScript or C++."""
    strings = r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`"
    expressions = r"|/(?![/* ])(?:\\.|\[[^\]]*\]|[^/\\\n])+/(?=[a-z]*[.,;)])"
    token = re.compile(r"//[^\n]*|/\*.*?\*/" + strings + expressions, re.S)
    for match in token.finditer(text):
        if match[0].startswith(("//", "/*")) or " " in match[0].strip():
            inside = blank(re.compile(r"\$\{[^{}]*\}"), match[0]).replace("`", " ")
            yield "prose", text.count("\n", 0, match.start()) + 1, inside
    code = blank(token, text)
    declared = r"^(?:export )?(?:async )?(?:function|class|interface|type|enum) (\w+)|^(?:export )?(?:const|let) (\w+)"
    member = r"|^  (?:private |public |readonly |static |async |get |set )*(\w+)(?:\(.*\{$|[?]?[:;] )"
    for match in re.finditer(declared + member, code, re.M):
        if match[match.lastindex or 0] not in ("if", "for", "while", "switch", "return"):
            kind = "definition" if match[1] else "name"
            yield kind, code.count("\n", 0, match.start()) + 1, match[match.lastindex or 0]


def markup(text: str) -> Iterator[Piece]:
    """The text of a page, and the attributes that people read or hear."""
    attributes = r"<(?:script|style).*?</(?:script|style)>|(?<=<)[^>]*?(?=(?:aria-label|title|alt|placeholder)=\"|>)"
    yield "prose", 1, blank(re.compile(attributes, re.S), text)


def comments(text: str) -> Iterator[Piece]:
    """The comments of a YAML file."""
    for number, line in enumerate(text.splitlines(), start=1):
        yield "prose", number, line.partition("#")[2]


def markdown(text: str) -> Iterator[Piece]:
    """A page as it is."""
    yield "prose", 1, text


READERS = {".py": python, ".pyi": python, ".md": markdown, ".html": markup, ".yaml": comments} | dict.fromkeys(
    (".ts", ".js", ".mjs", ".cpp"), typescript
)

if __name__ == "__main__":
    main()

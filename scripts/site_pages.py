"""Gather the pages of the documentation site: python scripts/site_pages.py FOLDER.

docs/, README.md and the other pages outside docs/ go into FOLDER, with every file that they link to. Links between
files of the project become links within the site; a link to a folder becomes its name.
"""

import posixpath
import re
import shutil
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
    "benchmarks/LOG.md": "log.md",
    "LICENCES.md": "licences.md",
}
"""Pages outside docs/ -> their place in the site."""
LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def main() -> None:
    """Write the folder anew."""
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs", out)
    for source in [*PAGES, *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]:
        text = LINK.sub(partial(rewritten, source=source, out=out), (ROOT / source).read_text("utf-8"))
        (out / place(source)).write_text(text, encoding="utf-8")


def rewritten(link: re.Match[str], source: str, out: Path) -> str:
    """A link of a page as it is in the site, its file copied there; all pages of the site are in one folder."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
    if (ROOT / target).is_dir():
        return f"`{link[1]}`"
    if (ROOT / target).is_file() and not target.endswith(".md"):
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / target, out / target)
    return f"[{link[1]}]({place(target)}{link[3] or ''})"


def place(source: str) -> str:
    """The place in the site of a file of the project."""
    return PAGES.get(source, source.removeprefix("docs/"))


if __name__ == "__main__":
    main()

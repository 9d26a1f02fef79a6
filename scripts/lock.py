"""Writes constraints: one version of every package that an environment holds, for each platform and Python.

    python scripts/lock.py constraints.txt train,birdnet,dev
    python scripts/lock.py constraints-litert.txt train edge-litert.txt --upgrade

uv, in a temporary environment, resolves the named extras of pyproject.toml, and further requirements, for Linux, macOS
and Windows at once from the index's metadata. Then pip resolves the same with the new file for this platform, and every
package must be in it. Neither installs anything. Versions in the file, and after them those in constraints.txt, stay
while they fit; with --upgrade all become the newest that go together, within `LIMITS`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = "uv==0.13.8"
LIMITS = (
    "torch==2.13.0",  # another torch has other kernels and exporters, and figures are those of this one
    "backports.strenum<1.3",  # 1.3 is for Python below 3.11: uv takes no notice of a Requires-Python's upper bound
)
HEADER = """\
# Made by `make lock`: do not edit. One version of everything that {what} installs,
# for Linux, macOS and Windows and all Pythons of pyproject.toml. A line for a package that is not installed has no
# effect: those who have a CPU build of torch install none of the CUDA packages here. scripts/lock.py pins torch.
"""


def run(*command: str | Path) -> None:
    """Run a command, or end with its exit code and what it wrote."""
    words = list(map(str, command))
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        sys.exit(done.returncode)


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(file: Path) -> dict[str, str]:
    """Lines of a constraints file by the names of their packages."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {plain(line.partition("==")[0]): line for line in lines if "==" in line}


def resolve(python: Path, extras: str, requirements: list[str], preferred: list[str], scratch: Path) -> list[str]:
    """The lines of a constraints file, by uv, for all platforms."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    limits, out = scratch / "limits.txt", scratch / "constraints.txt"
    limits.write_text("\n".join(LIMITS))
    out.write_text("\n".join(preferred))  # uv prefers the versions of the file that it writes
    options = ["--universal", "--fork-strategy", "fewest", "--python-version", project["requires-python"].strip(">=")]
    quiet = ["--quiet", "--no-header", "--no-annotate", "--output-file", str(out)]
    chosen = [part for extra in extras.split(",") for part in ("--extra", extra)]
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
    uv = ["-m", "uv", "pip", "compile", "pyproject.toml", *requirements]
    run(python, *uv, *options, *quiet, "--constraints", limits, *chosen)
    lines = out.read_text(encoding="utf-8").splitlines()
    pinned = [line.partition(" ;")[0] for line in lines]
    names = {line.partition("==")[0] for line in pinned}
    return pinned if len(names) == len(pinned) else lines  # markers matter where a package has several versions


def unpinned(python: Path, extras: str, requirements: list[str], constraints: Path) -> list[str]:
    """Packages that pip would install here at a version that the constraints do not name."""
    report = constraints.with_suffix(".json")
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--dry-run", "--ignore-installed"]
    files = [part for file in requirements for part in ("--requirement", file)]
    run(python, *pip, "--report", report, "--constraint", constraints, *files, f".[{extras}]")
    pinned = set(re.findall(r"^[\w.-]+==[^\s;]+", constraints.read_text(encoding="utf-8"), re.M))
    found = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    names = {f"{plain(item['name'])}=={item['version'].partition('+')[0]}" for item in found}
    return sorted(name for name in names - pinned if not name.startswith("sondino=="))


def main() -> None:
    """Renew a constraints file, or leave it as it is and say why."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="the constraints file to write")
    parser.add_argument("extras", help="of pyproject.toml, separated by commas")
    parser.add_argument("requirements", nargs="*", help="requirements files of what else the environment holds")
    parser.add_argument("--upgrade", action="store_true", help="keep no version")
    given = parser.parse_args()
    preferred = {} if given.upgrade else versions(ROOT / "constraints.txt") | versions(ROOT / given.file)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        venv.create(scratch / "venv", with_pip=True)
        python = next(path for path in scratch.glob("venv/*/python*") if path.stem == "python")
        lines = resolve(python, given.extras, given.requirements, list(preferred.values()), scratch)
        what = f"`make edge` ({given.requirements[0]})" if given.requirements else "`make quickstart` and `make test`"
        text = HEADER.format(what=what) + "\n".join(lines) + "\n"
        new = scratch / "new.txt"
        new.write_text(text, encoding="utf-8")
        missing = unpinned(python, given.extras, given.requirements, new)
        if missing:
            sys.exit(f"{given.file} is as it was: pip would install what the new one does not pin: {missing}")
        (ROOT / given.file).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

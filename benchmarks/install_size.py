"""Size of an installation: packages and megabytes of an environment's site-packages.

    python -m venv base && base/bin/pip install .
    python benchmarks/install_size.py sondino=base/bin/python "ssondo 0.3.1=.peers/bin/python"

pip, setuptools and wheel are not counted. Writes results/install_size.csv.
"""

import argparse
import json
import subprocess

from provenance import provenance, write_results

COUNT = """
import json, pathlib, sysconfig, importlib.metadata as metadata
root = pathlib.Path(sysconfig.get_paths()["purelib"])
own = {"pip", "setuptools", "wheel"}
left_out = {"pip", "setuptools", "wheel", "_distutils_hack", "pkg_resources"}
names = {d.metadata["Name"] for d in metadata.distributions()} - own
size = sum(f.stat().st_size for f in root.rglob("*")
           if f.is_file() and f.relative_to(root).parts[0].split("-")[0] not in left_out)
print(json.dumps({"packages": len(names), "megabytes": round(size / 1e6)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="+", metavar="NAME=PYTHON")
    rows = []
    for given in parser.parse_args().environments:
        name, _, python = given.partition("=")
        counted = subprocess.run([python, "-c", COUNT], capture_output=True, text=True, check=True).stdout
        rows.append({"install": name, **json.loads(counted), **provenance()})
    write_results("install_size", rows)


if __name__ == "__main__":
    main()

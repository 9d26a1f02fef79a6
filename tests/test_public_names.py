import subprocess
import sys

import pytest

import sondino


@pytest.mark.parametrize("name", sondino.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sondino, name) is not None
    assert callable(getattr(sondino, name))


ORDERS = """
import os, sys, traceback
import accelerate, onnxscript, sklearn.cluster, sklearn.linear_model, torch  # once for all: they take seconds

def check(first):
    exec(f"import sondino\\n{first}", globals())
    for _ in range(2):
        try:
            sondino.distill("nowhere", teacher="birdnett", out="x")
        except sondino.SondinoError as error:
            assert "did you mean birdnet" in str(error), error
        else:
            raise SystemExit("no error")
    from sondino import distill
    assert callable(distill)

for first in ("pass", "import sondino.distill.train", "sondino.distill", "from sondino.distill.distill import distill"):
    child = os.fork()
    if child == 0:
        try:
            check(first)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"after {first}")
"""


def test_distill_is_a_function_in_whatever_order_things_are_imported() -> None:
    run = subprocess.run([sys.executable, "-c", ORDERS], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        sondino.nothing  # noqa: B018

import subprocess
import sys

import pytest

import sondino


@pytest.mark.parametrize("name", sondino.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sondino, name) is not None
    assert callable(getattr(sondino, name))


@pytest.mark.parametrize(
    "first", ["pass", "import sondino.distill.train", "sondino.distill", "from sondino.distill.distill import distill"]
)
def test_distill_is_a_function_in_whatever_order_things_are_imported(first: str) -> None:
    code = (
        f"import sondino\n{first}\n"
        "for _ in range(2):\n"
        "    try:\n        sondino.distill('nowhere', teacher='birdnett', out='x')\n"
        "    except sondino.SondinoError as error:\n        assert 'did you mean birdnet' in str(error), error\n"
        "    else:\n        raise SystemExit('no error')\n"
        "from sondino import distill\nassert callable(distill)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        sondino.nothing  # noqa: B018

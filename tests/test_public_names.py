import re
from pathlib import Path

import pytest

import sondino


@pytest.mark.parametrize("name", sondino.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sondino, name) is not None


def test_no_file_of_the_package_imports_the_face() -> None:
    package = Path(sondino.__file__).parent
    lines = [line for file in package.rglob("*.py") for line in file.read_text().splitlines()]
    assert not [line for line in lines if re.match(r"\s*(import sondino$|import sondino as|from sondino import)", line)]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        sondino.nothing  # noqa: B018

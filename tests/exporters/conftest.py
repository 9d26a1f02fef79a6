"""Fixtures of the tests that open the page of `sondino demo` in Chromium."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import browser
from helpers.demo_page import CLIPS, EXECUTABLE, READY, faults, served
from helpers.page_bundle import write_page_bundle
from sondino.exporters.web import export_web


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page_bundle(tmp_path_factory.mktemp("page") / "bundle")


@pytest.fixture(scope="module")
def page_folder(bundle: Path) -> Path:
    """The page, under a folder of a site."""
    return export_web(bundle, bundle.parent / "site" / "some folder" / "page", gallery=CLIPS)


@pytest.fixture(scope="module")
def tabs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[browser.Page]]:
    @contextmanager
    def made(*flags: str) -> Iterator[browser.Page]:
        assert EXECUTABLE is not None
        with browser.browser(EXECUTABLE, tmp_path_factory.mktemp("profile"), *flags) as page:
            page.connect()
            page.show(1280, 800)
            yield page

    return made


@pytest.fixture(scope="module")
def address(page_folder: Path) -> Iterator[str]:
    with served(page_folder.parents[1]) as root:
        yield f"{root}some%20folder/page/"


@pytest.fixture(scope="module")
def opened(tabs: Any, address: str) -> Iterator[tuple[browser.Page, str]]:
    with tabs() as page:
        yield page, address


@pytest.fixture
def page(opened: tuple[browser.Page, str]) -> Iterator[browser.Page]:
    """The page, freshly loaded, with its first clip embedded; afterwards without errors or requests of others."""
    page, address = opened
    page.open("about:blank")  # the page of the test before it may still ask for something, or complain
    page.errors.clear()
    page.requests.clear()
    page.open(address)
    page.until(READY)
    yield page
    assert faults(page) == []
    assert [url for url in page.requests if not url.startswith((address, "blob:"))] == []

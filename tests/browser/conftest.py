"""A real Chromium before the real gateway, over real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser

from support.browser import Hearth, launched, opened
from support.browser_house import OWNER, BrowserHouse, running
from support.browser_shelf import fill


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserHouse]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def house(_running: BrowserHouse) -> BrowserHouse:
    _running.reset()
    fill(_running.shelf)
    return _running


@pytest.fixture
def visit(browser: Browser, house: BrowserHouse) -> Iterator[Callable[..., Hearth]]:
    """Open a new browser context; every script error and every request elsewhere fails the test."""
    with ExitStack() as stack:
        visits: list[Hearth] = []

        def open_page(*, key: str = OWNER, **options: object) -> Hearth:
            visits.append(stack.enter_context(opened(browser, url=house.url, key=key, **options)))
            return visits[-1]

        yield open_page
        for hearth in visits:
            assert hearth.seen.errors == []
            assert hearth.seen.dialogs == []
            assert hearth.seen.outside(house.url) == []


@pytest.fixture
def hearth(visit: Callable[..., Hearth]) -> Hearth:
    """A page that is signed in."""
    found = visit()
    found.sign_in()
    found.page.get_by_label("Question").wait_for()
    return found

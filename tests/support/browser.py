"""Drives the page in the system's Chromium: one set of steps for the gateway in a thread and for a real cluster."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1280, "height": 800}
MAX_PICTURE_BYTES = 220_000
ROOT = Path(__file__).resolve().parents[2]


def find_chromium() -> str:
    """Return the path of the browser; a sentence where there is none."""
    named = os.environ.get("HEARTH_CHROMIUM")
    for program in (named, *PROGRAMS) if named else PROGRAMS:
        if found := shutil.which(program):
            return found
    message = "No Chromium: install it with `apt-get install chromium`, or name one in HEARTH_CHROMIUM."
    raise FileNotFoundError(message)


expect.set_options(timeout=10_000)  # a loaded machine is no failure; what has a limit of its own says so


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a headless browser with a new, empty profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Seen:
    """What the browser did beside showing the page."""

    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    pages: int = 0

    def outside(self, url: str) -> list[str]:
        """Return requests that left the page's own origin."""
        home = urlsplit(url).netloc
        return [found for found in self.requests if urlsplit(found).netloc != home and not found.startswith("blob:")]


class Hearth:
    """The page, as a person uses it."""

    def __init__(self, page: Page, *, url: str, key: str, seconds: float) -> None:
        self.page, self.url, self.key, self.seen = page, url.rstrip("/"), key, Seen()
        page.set_default_timeout(seconds * 1000)
        self.ms = seconds * 1000
        page.on("request", lambda request: self.seen.requests.append(request.url))
        page.on("pageerror", lambda error: self.seen.errors.append(str(error)))
        page.on("console", lambda entry: self.seen.errors.append(entry.text) if _is_error(entry) else None)
        page.on("popup", lambda _: setattr(self.seen, "pages", self.seen.pages + 1))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.seen.dialogs.append(dialog.message)
        dialog.dismiss()

    def sign_in(self, key: str | None = None) -> "Hearth":
        self.page.goto(self.url + "/")
        self.page.get_by_label("API key").fill(key or self.key)
        self.page.get_by_role("button", name="Sign in").click()
        return self

    def view(self, name: str) -> "Hearth":
        self.page.get_by_role("navigation").get_by_role("link", name=re.compile(name)).click()
        return self

    def ask(self, question: str, *, base: str | None = None) -> Locator:
        """Ask and wait for the end of the answer; returns the answer's article."""
        if base is not None:
            self.page.locator("#base").select_option(base)
        self.page.get_by_label("Question").fill(question)
        self.page.get_by_role("button", name="Ask", exact=True).click()
        answer = self.page.locator("article.theirs").last
        expect(answer).not_to_have_attribute("aria-busy", "true", timeout=self.ms)
        return answer

    def search(self, query: str) -> Locator:
        """Search and return the results."""
        self.page.get_by_role("searchbox").fill(query)
        self.page.get_by_role("search").get_by_role("button", name="Search").click()
        results = self.page.locator("#results button.hit")
        expect(self.page.locator("#search [role=status]")).not_to_have_text("Searching…", timeout=self.ms)
        return results

    @property
    def panel(self) -> Locator:
        return self.page.locator("#panel")

    def wait_opened(self) -> Locator:
        """Wait until the panel shows a document; returns the panel."""
        expect(self.panel.locator("#paneltitle")).to_be_visible(timeout=self.ms)
        return self.panel

    def open_source(self, answer: Locator, number: int = 0) -> Locator:
        """Open one of the listed sources of an answer."""
        entry = answer.locator(".sources button.source").nth(number)
        if not entry.is_visible():
            answer.locator(".sources summary").click()
        entry.click()
        return self.wait_opened()

    def mark_is_in_view(self) -> bool:
        """Whether the passage is marked and can be seen without scrolling."""
        mark = self.panel.locator("mark").first
        expect(mark).to_be_attached()
        return bool(
            mark.evaluate(
                "m => { const a = m.getBoundingClientRect(), b = document.getElementById('panel').getBoundingClientRect();"
                " return a.height > 0 && a.top >= b.top && a.top < b.bottom; }"
            )
        )

    def picture(self, name: str, *, folder: Path) -> Path:
        """Write a small PNG of what is seen."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size < MAX_PICTURE_BYTES, f"{path.name} is {path.stat().st_size} bytes"
        return path


def _is_error(entry: Any) -> bool:
    # The browser reports every answer of 4xx and 5xx, and that plain HTTP has no opener policy; what matters here are
    # scripts and the content policy.
    harmless = ("Failed to load resource", "The Cross-Origin-Opener-Policy header has been ignored")
    return entry.type == "error" and not entry.text.startswith(harmless)


@contextmanager
def opened(
    browser: Browser, *, url: str, key: str, size: ViewportSize | None = None, dark: bool = False, seconds: float = 15
) -> Iterator[Hearth]:
    """Open the page in a browser that knows nothing yet."""
    context: BrowserContext = browser.new_context(
        viewport=size or DESK,
        color_scheme="dark" if dark else "light",
        locale="en-GB",
        timezone_id="Europe/Berlin",
        service_workers="block",
        has_touch=size == PHONE,
    )
    try:
        yield Hearth(context.new_page(), url=url, key=key, seconds=seconds)
    finally:
        context.close()

"""The page of the running product: a question to every kind of source, its citation opened, and the pictures of the README."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.browser import PHONE, Hearth, launched, opened
from support.cluster import Cluster

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "work-month" / "questions.json"
SECONDS = 180  # a small model on a loaded CPU


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture
def hearth(browser: Browser, cluster: Cluster) -> Iterator[Hearth]:
    with opened(browser, url=cluster.url, key=cluster.key, seconds=SECONDS) as found:
        found.sign_in()
        found.page.get_by_label("Question").wait_for()
        yield found
        assert found.seen.errors == []
        assert found.seen.dialogs == []
        assert found.seen.outside(cluster.url) == []


def _questions() -> dict[str, list[str]]:
    """Return the sample's questions for each kind of source, by the kind's word in the page."""
    found: dict[str, list[str]] = {}
    for item in json.loads(SAMPLE.read_text()):
        kind = {"inbox": "Mail", "documents": "Document", "chats": "Chat", "calendar": "Meeting"}.get(item["source"])
        if kind is not None:
            found.setdefault(kind, []).append(item["question"])
    return found


QUESTIONS = _questions()


@pytest.mark.parametrize("kind", ["Mail", "Document", "Chat", "Meeting"])
def test_a_question_to_every_kind_of_source_has_a_citation_that_opens(
    hearth: Hearth, cluster: Cluster, kind: str
) -> None:
    # Whether a question finds its source is measured elsewhere (recall); here one that does is followed to the end.
    wanted = {"Mail": "email", "Document": "document", "Chat": "teams", "Meeting": "calendar"}[kind]
    question = next(
        text for text in QUESTIONS[kind] if wanted in [hit["kind"] for hit in cluster.search("work", text, top_k=2)]
    )
    answer = hearth.ask(question, base="work")
    expect(answer.locator(".error")).to_have_count(0)
    expect(answer.locator(".by")).to_contain_text("Answered by chat")
    entries = answer.locator(".sources button.source")
    kinds = []
    for number in range(entries.count()):
        panel = hearth.open_source(answer, number)
        kinds.append(panel.locator(".kind").inner_text().title())
        assert panel.locator("mark").count() > 0, panel.locator("#paneltitle").inner_text()
        assert hearth.mark_is_in_view()
        hearth.page.keyboard.press("Escape")
        if kind in kinds:
            return
    pytest.fail(f"No citation is a {kind}: {kinds}", pytrace=False)


@pytest.mark.parametrize("kind", ["Mail", "Document", "Chat", "Meeting"])
def test_search_by_kind_opens_the_passage(hearth: Hearth, kind: str) -> None:
    hearth.view("Search")
    hearth.page.get_by_text("Filters", exact=True).click()
    hearth.page.get_by_role("checkbox", name=kind, exact=True).check()
    hearth.search(QUESTIONS[kind][0]).first.click()
    panel = hearth.wait_opened()
    expect(panel.locator(".kind")).to_have_text(kind)
    assert hearth.mark_is_in_view()


def test_the_status_names_both_machines_and_every_source(hearth: Hearth, cluster: Cluster) -> None:
    hearth.view("Status")
    state = hearth.page.locator("#state")
    state.locator(".verdict").wait_for()
    for kind in ("inferencenodes", "modeldeployments", "knowledgebases", "ingestionsources"):
        for item in cluster.items(kind):
            expect(state.locator("strong", has_text=item["metadata"]["name"]).first).to_be_visible()


@pytest.mark.parametrize(("name", "options"), [("light", {}), ("dark", {"dark": True}), ("phone", {"size": PHONE})])
def test_pictures_for_the_readme(
    browser: Browser, cluster: Cluster, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    """HEARTH_PICTURES=services/gateway/screenshots takes those of the README; a usual run leaves them as they are."""
    folder = Path(os.environ.get("HEARTH_PICTURES") or tmp_path)
    question = next(item["question"] for item in json.loads(SAMPLE.read_text()) if item.get("show"))
    with opened(browser, url=cluster.url, key=cluster.key, seconds=SECONDS, **options) as hearth:
        hearth.sign_in()
        hearth.page.get_by_label("Question").wait_for()
        answer = hearth.ask(question, base="work")
        if name == "phone":
            hearth.picture("phone-chat", folder=folder)
        hearth.open_source(answer)
        hearth.picture(f"{name}-source", folder=folder)
        if name != "light":
            return
        hearth.page.keyboard.press("Escape")
        hearth.view("Search")
        hearth.search(question).first.wait_for()
        hearth.picture("light-search", folder=folder)
        hearth.view("Status")
        hearth.page.locator("#state .verdict").wait_for()
        hearth.picture("light-status", folder=folder)

"""Search, status, keyboard, sizes: what a person sees and how soon."""

import datetime as dt
import re
import time

import pytest
from playwright.sync_api import expect

from support.browser import PHONE
from support.browser_house import node
from support.browser_shelf import QUOTE, SLIDES, hit, view

AWAY = "2026-11-20T14:02:00+01:00"


def test_search_with_every_filter_says_what_it_was_asked(hearth, house):
    hearth.view("Search")
    page = hearth.page
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("checkbox", name="Mail").check()
    page.get_by_role("checkbox", name="Chat").check()
    page.get_by_role("checkbox", name="known", exact=True).check()
    page.get_by_label("People").fill("Helga Brandt, tom@house.example")
    page.get_by_label("From", exact=True).fill("2026-10-01")
    page.get_by_label("To", exact=True).fill("2026-10-31")
    page.get_by_label("By", exact=True).select_option("sparse")
    page.get_by_label("As it was known on").fill("2026-11-01T08:00")
    page.get_by_label("Knowledge base", exact=True).select_option("work")
    page.locator("#search").get_by_label("Source", exact=True).select_option("inbox")
    page.get_by_role("checkbox", name="with threads and meetings").check()
    results = hearth.search("pump")
    expect(results).to_have_count(2)
    asked = house.shelf.searches[-1]
    assert asked["filters"] == {
        "kind": ["email", "teams"],
        "trust": ["Known"],
        "source": ["inbox"],
        "people": ["Helga Brandt", "tom@house.example"],
        "after": asked["filters"]["after"],
        "before": asked["filters"]["before"],
    }
    moments = [dt.datetime.fromisoformat(asked["filters"][name]) for name in ("after", "before")]
    assert moments[0] == dt.datetime.fromisoformat(
        "2026-10-01T00:00:00+02:00"
    )  # the reader's own day, before and after DST ends
    assert moments[1] == dt.datetime.fromisoformat("2026-10-31T23:59:59.999+01:00")
    assert dt.datetime.fromisoformat(asked["as_of"]) == dt.datetime.fromisoformat("2026-11-01T08:00+01:00")
    assert (asked["mode"], asked["expand"]) == ("sparse", ["thread", "meeting"])


@pytest.mark.parametrize(
    ("kind", "title", "words"),
    [
        ("Mail", "Re: pump", ["Helga Brandt <helga@nordwerk.example>", "Attachments"]),
        ("Chat", "Site › Crane", ["Nadia Rossi", "Open at teams.example ↗", "13 Oct 2026, 09:05"]),
        ("Meeting", "Pump delivery", ["Organizer", "Tom Okafor", "Occurrence 2 of 3", "21 Oct 2026, 09:00"]),
        ("Document", "Budget review", ["Slide 4", "Slide 5, speaker's notes", "Nadia Rossi"]),
    ],
)
def test_each_kind_opens_as_what_it_is_at_its_passage(hearth, house, kind, title, words):
    hearth.view("Search")
    page = hearth.page
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("checkbox", name=kind, exact=True).check()
    hearth.search("pump crane budget").first.click()
    panel = hearth.wait_opened()
    expect(panel.locator("#paneltitle")).to_have_text(title)
    expect(panel.locator(".kind")).to_have_text(kind)
    for word in words:
        expect(panel).to_contain_text(word)
    assert hearth.mark_is_in_view()
    if kind == "Meeting":  # two occurrences say the same: the one that was found is marked
        expect(panel.locator(".here")).to_have_count(1)
        expect(panel.locator(".here")).to_contain_text("Occurrence 3 of 3: 28 Oct 2026, 08:00")


def test_everything_works_by_keyboard(hearth):
    page = hearth.page
    hearth.view("Search")
    page.locator("main").focus()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("pump a/b")
    page.keyboard.press("Enter")
    results = page.locator("#results button.hit")
    expect(results).to_have_count(4)
    page.keyboard.press("ArrowDown")
    expect(results.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(results.nth(1)).to_be_focused()
    assert results.nth(1).evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    panel = hearth.wait_opened()
    expect(panel).to_be_focused()
    page.keyboard.press("Tab")
    expect(panel.get_by_role("button", name="Close the source")).to_be_focused()
    page.keyboard.press("Escape")
    expect(results.nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.goto(page.url.split("#")[0] + "#status")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_the_skip_link_leads_past_the_views(hearth):
    page = hearth.page
    page.locator("body").evaluate("() => document.activeElement.blur()")
    page.evaluate("document.querySelector('.skip').focus()")
    box = page.locator(".skip").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert page.locator("main, nav, header, aside").count() == 4
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input,select,textarea')].filter(e => !e.labels.length && !e.ariaLabel).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_the_status_is_right_within_five_seconds_of_a_change(hearth, house):
    page, state = hearth.page, hearth.page.locator("#state")
    hearth.view("Status")
    expect(state.locator(".verdict")).to_have_text("All is well.")
    expect(state).to_contain_text("studio is up and holds chat.")
    expect(state).to_contain_text("work has 5 documents in 4 passages, all indexed. 1 passage is withheld.")
    started = time.monotonic()
    house.set_catalog(
        variants=house.variants(state="Unreachable"),
        nodes=[node("studio", reachable=False, since=AWAY), node("gpu")],
    )
    expect(state).to_contain_text("chat answers from gpu instead", timeout=5000)
    took = time.monotonic() - started
    assert took < 5
    expect(state).to_contain_text(
        re.compile(r"studio does not answer since (.*, )?14:02; chat answers from gpu instead\.")
    )
    expect(state.locator(".verdict")).to_have_text("1 thing needs attention.")
    expect(page.locator("#trouble")).to_be_visible()
    house.set_catalog()
    expect(state.locator(".verdict")).to_have_text("All is well.", timeout=5000)
    expect(page.locator("#trouble")).to_be_hidden()


def test_the_status_tells_of_sources_queues_and_models_without_a_place(hearth, house):
    state = hearth.page.locator("#state")
    last = {
        "job": "j",
        "finished": "2026-11-20T03:00:00+01:00",
        "outcome": "Succeeded",
        "counts": {"added": 12, "updated": 1},
    }
    ref = {"knowledgeBaseRef": {"name": "work"}}
    house.set_catalog(
        nodes=[node("studio"), node("gpu"), node("spare")],
        variants=house.variants(state="Failed", reason="needs 90 GB, studio has 64 GB")[:1],
        sources=[
            {
                "metadata": {"name": "inbox"},
                "spec": {"type": "Email", **ref},
                "status": {"lastRun": {**last, "withheld": {"hidden-text": 2}}},
            },
            {
                "metadata": {"name": "chats"},
                "spec": {"type": "Teams", **ref},
                "status": {"lastRun": {**last, "outcome": "Failed", "firstError": "no such file"}},
            },
            {"metadata": {"name": "diary"}, "spec": {"type": "Calendar", "suspend": True, **ref}},
            {"metadata": {"name": "scans"}, "spec": {"type": "Documents", **ref}, "status": {"activeJob": "j2"}},
        ],
    )
    house.shelf.pending = 3
    hearth.view("Status")
    for words in (
        "spare is up and holds no model.",
        "chat cannot answer",
        "needs 90 GB, studio has 64 GB.",
        "3 more wait to be indexed.",
        "12 new, 1 changed. Withheld: 2 because it was hidden from a reader's eye.",
        "chats could not be read at",
        "no such file.",
        "diary is switched off on purpose.",
        "scans is being read now.",
    ):
        expect(state).to_contain_text(words)


def test_a_gateway_that_goes_away_is_said_and_comes_back_by_itself(hearth, house):
    hearth.view("Status")
    hearth.page.route("**/v1/status", lambda route: route.abort())
    expect(hearth.page.locator("#state")).to_contain_text("Hearth does not answer.", timeout=5000)
    hearth.page.unroute("**/v1/status")
    expect(hearth.page.locator("#state .verdict")).to_have_text("All is well.", timeout=5000)
    hearth.seen.errors.clear()


def test_the_page_is_fast_and_small(visit, house):
    hearth = visit()
    hearth.page.goto(house.url + "/")
    hearth.page.get_by_label("API key").wait_for()
    paint = hearth.page.evaluate(
        """() => new Promise(done => { const look = () => { const p = performance.getEntriesByName('first-contentful-paint')[0];
        p ? done(p.startTime) : requestAnimationFrame(look); }; look(); })"""
    )
    sizes = hearth.page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map(e => [e.name, e.transferSize, e.encodedBodySize])"
    )
    total = sum(max(transfer, encoded) for _, transfer, encoded in sizes)
    print(f"first paint {paint:.0f} ms, {len(sizes)} files, {total} bytes")
    assert paint < 1000
    assert 5_000 < total < 40_000
    hearth.page.reload()
    hearth.page.get_by_label("API key").wait_for()
    again = hearth.page.evaluate("performance.getEntriesByType('resource').reduce((sum, e) => sum + e.transferSize, 0)")
    assert again == 0, "assets come from the browser's own store"


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_of_it_without_sideways_scrolling(visit, house, dark):
    house.model.text = (
        f"{QUOTE}\n\n| a | b |\n| - | - |\n| {'wide ' * 30} | {'x' * 80} |\n\n```\n{'long line ' * 30}\n```"
    )
    hearth = visit(size=PHONE, dark=dark)
    hearth.sign_in()
    hearth.page.get_by_label("Question").wait_for()
    answer = hearth.ask("When does the pump arrive?")
    for name in ("Search", "Status", "Withheld", "Chat"):
        hearth.view(name)
        assert hearth.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], name
    panel = hearth.open_source(answer)
    box = panel.bounding_box()
    assert box == {"x": 0, "y": 0, "width": PHONE["width"], "height": PHONE["height"]}
    assert hearth.mark_is_in_view()
    assert hearth.page.locator("main").evaluate("e => e.inert")
    assert hearth.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    panel.get_by_role("button", name="Close").click()
    assert not hearth.page.locator("main").evaluate("e => e.inert")


CONTRAST = """() => {
  const rgb = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3); };
  const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest('.visually-hidden, option, .skip')) continue;
    let back = null; for (let p = e; p && !back; p = p.parentElement) back = rgb(getComputedStyle(p).backgroundColor);
    const style = getComputedStyle(e), a = light(rgb(style.color)), b = light(back ?? [255, 255, 255]);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5 && parseFloat(style.fontSize) < 24) bad.push([e.localName, e.className, e.textContent.slice(0, 30), ratio]);
  }
  return bad; }"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_is_enough_in_light_and_dark(visit, house, dark):
    house.model.text = f"{QUOTE} `code`\n\n> quoted"
    hearth = visit(dark=dark)
    hearth.sign_in()
    hearth.page.get_by_label("Question").wait_for()
    answer = hearth.ask("When does the pump arrive?")
    hearth.open_source(answer)
    assert hearth.page.evaluate(CONTRAST) == []
    for name in ("Status", "Search", "Withheld"):
        hearth.view(name)
        hearth.page.wait_for_timeout(100)
        assert hearth.page.evaluate(CONTRAST) == []


def test_a_model_that_does_not_answer_shows_before_the_operator_has_looked(hearth, house):
    house.set_catalog(variants=house.variants(url="http://127.0.0.1:9/m"))
    for _ in range(2):
        hearth.ask("Are you there?", base="")
    hearth.view("Status")
    expect(hearth.page.locator("#state")).to_contain_text(
        "chat answers from gpu (cuda) instead of studio, which did not answer the last requests."
    )


def test_a_model_that_becomes_ready_can_be_chosen_without_signing_in_again(hearth, house):
    hearth.view("Status")
    house.set_catalog(name="large")
    expect(hearth.page.locator("#state")).to_contain_text("large answers questions on studio.", timeout=5000)
    hearth.view("Chat")
    expect(hearth.page.locator("#model option")).to_have_text(["large"])


def test_a_passage_far_down_in_a_very_long_document_is_found_soon(hearth, house):
    rows = [{"text": f"Row {n}\tvalue\t{n * 7}", "role": "table", "anchor": {"cell": f"A{n}"}} for n in range(1, 6001)]
    rows[0]["text"] = "A long first row. " * 60_000
    house.shelf.views[SLIDES] = view(SLIDES, title="Ledger", segments=rows)
    text = "Row 5990 value 41930\nRow 5991 value 41937"
    house.shelf.hits[:] = [hit(SLIDES, text, title="Ledger", anchor={"cell": "A5990"})]
    hearth.view("Search")
    results = hearth.search("row")
    started = time.monotonic()
    results.first.click()
    hearth.wait_opened()
    assert hearth.mark_is_in_view()
    expect(hearth.panel.locator("mark")).to_have_text(
        ["Row 5990\tvalue\t41930", "Row 5991\tvalue\t41937"], use_inner_text=False
    )
    expect(hearth.panel).to_contain_text("4000 more passages are in the original.")
    assert time.monotonic() - started < 5

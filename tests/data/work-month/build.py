"""Build the sample month from the readable texts in `sources/`.

    python build.py              # writes beside this file
    python build.py --out DIR    # writes elsewhere, for the comparison in the tests

The same sources give the same bytes: boundaries, ids and seconds are derived from what they belong to, mail headers
are written here and not by `email`, whose folding differs between versions of Python, and nothing is compressed,
because compressed bytes differ between builds of zlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from build_calendar import build_calendars
from build_mail import Mailbox
from build_office import build_office
from build_pdf import build_pdf
from build_teams import build_teams

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "sources"
# Each PDF that is a document by itself; the others are only attached to mails.
PDF_DOCUMENTS = {
    "contract-summary-pinecroft": "Summary of the hosting contract with Pinecroft",
    "price-list-2027": "Heron price list 2027",
    "travel-policy": "Travel policy",
    "data-sheet-hg-150": "Data sheet HG-150",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE)
    out: Path = parser.parse_args().out
    mailbox = Mailbox.load(SOURCES)
    files = {"mail.mbox": mailbox.render()}
    for name, title in PDF_DOCUMENTS.items():
        files[f"documents/{name}.pdf"] = build_pdf(name, title=title)
    files |= {f"documents/{path}": data for path, data in build_office(SOURCES / "office").items()}
    files |= {f"teams/{path}": data for path, data in build_teams(SOURCES, mailbox.people).items()}
    files |= {f"calendar/{path}": data for path, data in build_calendars(SOURCES / "calendar").items()}
    for path, data in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)


if __name__ == "__main__":
    main()

"""What the sandbox can be asked for: the text of a file, or the members of an archive."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import DOCX, ODF_TYPES, PPTX, RTF, XLSX, Body, Parser
from hearth_ingest.documents.docx import read_docx
from hearth_ingest.documents.odf import read_odf
from hearth_ingest.documents.pdf import read_pdf
from hearth_ingest.documents.pptx import read_pptx
from hearth_ingest.documents.rtf import read_rtf
from hearth_ingest.documents.unpack import unpack
from hearth_ingest.documents.web import read_web
from hearth_ingest.documents.xlsx import read_xlsx
from hearth_ingest.errors import ItemError
from hearth_ingest.sandbox.worker import Frame, Job

_PARSERS: dict[str, Parser] = {
    "text/html": read_web,
    "application/pdf": read_pdf,
    DOCX: read_docx,
    PPTX: read_pptx,
    XLSX: read_xlsx,
    RTF: read_rtf,
    **dict.fromkeys(ODF_TYPES.values(), read_odf),
}
_BODY: TypeAdapter[Body] = TypeAdapter(Body)


def _read_body(data: bytes, arguments: Mapping[str, Any]) -> Iterator[Frame]:
    limits = RunLimits.model_validate(arguments["limits"])
    try:
        body = _PARSERS[arguments["type"]](data, limits)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, LookupError) as error:
        raise ItemError("unparseable", f"{type(error).__name__} in the parser") from error
    yield {}, _BODY.dump_json(body)


JOBS: dict[str, Job] = {"body": _read_body, "unpack": unpack}

"""Renders chat templates in a process of its own: `python -I template_child.py`. Imports nothing of Hearth.

A template is a program out of a model's files. It runs in Jinja's sandbox, which keeps it from Python but neither from
looping for hours nor from filling the memory: a process has limits, and can be killed. Reads a line of JSON for each
rendering and writes one. The first line is `{"template": ...}`.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any, NoReturn

MEMORY = 1 << 30
"""Bytes of address space."""
LONGEST = 16 << 20
"""Characters of a rendered prompt."""


class TemplateRefusalError(Exception):
    """The template itself refuses the messages (`raise_exception`)."""


def _refuse(message: object) -> NoReturn:
    raise TemplateRefusalError(str(message))


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    separators, sort_keys = options.get("separators"), bool(options.get("sort_keys"))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def compile_template(text: str) -> Any:
    """Return the template in the environment that models' templates are written for. Raises jinja2's errors."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant said, for training; here it is only its content."""

        tags = {"generation"}  # noqa: RUF012 as the base class has it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment.from_string(text)


def answer(template: Any, line: str) -> dict[str, str]:
    """Return the rendering of one line, or why there is none."""
    try:
        text = template.render(**json.loads(line))
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:  # noqa: BLE001 whatever a template does wrong is told to the caller
        return {"error": (str(error).splitlines() or [type(error).__name__])[0][:300]}
    return {"text": text} if len(text) <= LONGEST else {"error": f"its prompt is longer than {LONGEST} characters"}


def main() -> None:
    """Serve renderings until the input ends."""
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, value))
        except (ValueError, OSError):  # macOS does not bound address space: the parent's clock still does
            continue
    try:
        template = compile_template(json.loads(sys.stdin.readline())["template"])
        reply = {"text": ""}
    except Exception as error:  # noqa: BLE001 told to the parent
        template, reply = None, {"error": (str(error).splitlines() or [type(error).__name__])[0][:300]}
    print(json.dumps(reply), flush=True)
    if template is None:
        return
    for line in sys.stdin:
        print(json.dumps(answer(template, line)), flush=True)


if __name__ == "__main__":
    main()

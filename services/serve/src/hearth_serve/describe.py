"""`hearth-serve describe PATH`: print what a model's files say, to paste under `model.shape`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from hearth_serve.shapes import ShapeError, describe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="hearth-serve", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("describe", help="print the shape of a GGUF file, an ONNX file or a safetensors folder")
    one.add_argument("path", type=Path, metavar="PATH")
    return print_shape(parser.parse_args(arguments).path, out=sys.stdout, err=sys.stderr)


def print_shape(path: Path, *, out: TextIO, err: TextIO) -> int:
    """Print the shape as YAML; return 1 and say why where it cannot be read."""
    try:
        shape = describe(path)
    except ShapeError as error:
        print(f"hearth-serve: {error}", file=err)
        return 1
    print("shape:", file=out)
    for key, value in shape.to_json_object().items():
        shown = str(value).lower() if isinstance(value, bool) else value
        print(f"  {key}: {shown}", file=out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

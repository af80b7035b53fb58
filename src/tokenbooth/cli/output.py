"""What commands print: one JSON object for machines, tables and sentences for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

import typer

Json = str | int | bool | None | Sequence["Json"] | Mapping[str, "Json"]


def print_json(payload: Mapping[str, Json]) -> None:
    """One line of JSON on standard output."""
    typer.echo(json.dumps(payload, ensure_ascii=False))


def print_line(text: str) -> None:
    """A sentence on standard output."""
    typer.echo(text)


def print_failure(text: str) -> None:
    """What went wrong, on standard error; no control characters reach the terminal."""
    safe = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
    typer.echo(f"tokenbooth: {safe}", err=True)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output, as wide as the terminal, or as its content when there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers)
    for row in rows:
        # Text, so that brackets in a name are not read as markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)

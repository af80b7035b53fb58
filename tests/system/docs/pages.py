"""README.md and the pages of docs/: their snippets, tables, headings and links. Only these tests import it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
RUNNABLE: Final = frozenset({"sh", "bash", "python", "json", "toml"})
SHOWN_ONLY: Final = frozenset({"ini", "nginx", "text", "mermaid"})

_NOT_RUN: Final = re.compile(r"<!-- not run: (.+) -->")
_FENCE: Final = re.compile(r"```(\S*)")
_CODE: Final = re.compile(r"`([^`]+)`")
_HEADING: Final = re.compile(r"#+ (.+)")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block: its language, its text, where it begins, and why it is not run (None: it is)."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def snippets(page: Path) -> list[Snippet]:
    """The fenced blocks of a page, in their order."""
    return list(_snippets(page))


def _snippets(page: Path) -> Iterator[Snippet]:
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    before = ""
    for number, line in lines:
        fence = _FENCE.fullmatch(line)
        if fence is None:
            before = line
            continue
        block: list[str] = []
        for _, inner in lines:
            if inner == "```":
                break
            block.append(inner)
        marker = _NOT_RUN.fullmatch(before)
        text = "\n".join(block) + "\n"
        yield Snippet(name_of(page), number, fence[1], text, None if marker is None else marker[1])
        before = ""


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = (_HEADING.fullmatch(line) for line in prose(page).splitlines())
    return {_slug(heading[1]) for heading in headings if heading is not None}


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(prose(page))


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level, down to the next one."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[tuple[str, ...]]:
    """The cells of every table row, without the rows of dashes."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]
    return [row for row in cells if not all(set(cell) <= set("-") for cell in row) or not any(row)]


def codes(cell: str) -> list[str]:
    """What stands in a cell as code."""
    return _CODE.findall(cell)


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")

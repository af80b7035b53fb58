"""docs/dashboard.md names the pages, and for what they do the calls of the management plane."""

import re
from pathlib import Path
from typing import Final

from tests.support.dashboard.dashboard import open_booth
from tokenbooth.store.engine import Store

PAGE: Final = (Path(__file__).parents[3] / "docs" / "dashboard.md").read_text(encoding="utf-8")
# Those are not for a customer's program.
ELSEWHERE: Final = ("/api/webhooks/",)


def _section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


async def test_every_call_is_in_the_table(store: Store) -> None:
    """The table of what a program can do has each call of the management plane, and no call that is not there."""
    async with open_booth(store) as booth:
        paths = booth.plane.app.openapi()["paths"]
    served = {
        f"{method.upper()} {re.sub(r'{[a-z_]+}', '{id}', path)}"
        for path, methods in paths.items()
        if path.startswith("/api/") and not path.startswith(ELSEWHERE)
        for method in methods
    }
    table = re.sub(r"{[A-Za-z]+}", "{id}", _section("What the dashboard does, and the call that does it"))
    named = set()
    for line in table.splitlines():
        methods: list[str] = []
        for call in re.findall(r"`((?:GET|POST|PUT|DELETE)(?: /api/[^ `]+)?)`", line):
            method, _, path = call.partition(" ")
            methods.append(method)
            if path:
                named |= {f"{one} {path}" for one in methods}
                methods = []
    assert named == served


async def test_every_page_is_in_the_table(store: Store) -> None:
    """Each page in the dashboard's menu, and each part of billing that has a page, is named."""
    async with open_booth(store) as booth:
        browser = await booth.logged_in(is_admin=True)
        menu = set(re.findall(r'<a href="(/[^"]+)" class="side-link', (await browser.get("/dashboard")).text))
    named = set(re.findall(r"^\| `(/[^`]*)` \|", _section("Pages"), re.MULTILINE))
    assert menu <= named

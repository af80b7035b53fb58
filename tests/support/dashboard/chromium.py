"""Debian's Chromium, driven by Playwright, against a demo in a process of its own. Only tests and scripts import it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.command import Running, running, wait_until

CHROMIUM: Final = "/usr/bin/chromium"
# A browser of its own without the errands that it runs for its maker.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo, and how to get into it."""

    running: Running
    directory: Path
    email: str
    password: str = field(repr=False)
    management_key: str = field(repr=False)

    @property
    def base_url(self) -> str:
        """Where it is served."""
        return self.running.base_url

    def mailed_link(self, email: str) -> str:
        """The link in the log that was made for an email last."""

        def links() -> list[str]:
            lines = self.running.log.read_text(encoding="utf-8").splitlines()
            events = [json.loads(line) for line in lines if '"mail_not_sent"' in line]
            return [str(event["link"]) for event in events if event["recipient"] == email]

        wait_until(lambda: bool(links()), "a link in the log")
        return links()[-1]

    def api(self, method: str, path: str, key: str, body: object = None) -> httpx.Response:
        """A call with a key."""
        return httpx.request(method, self.base_url + path, json=body, headers={"authorization": f"Bearer {key}"})


@contextmanager
def running_demo(cwd: Path) -> Iterator[Demo]:
    """A demo that is ready, until the block ends."""
    with running("demo", "--port", "0", cwd=cwd, find_url=_url) as process:
        directory = cwd / "tokenbooth-demo"
        access = json.loads((directory / "demo.json").read_text(encoding="utf-8"))
        yield Demo(process, directory, access["email"], access["password"], access["managementKey"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, until the block ends."""
    if not Path(CHROMIUM).exists():
        raise AssertionError(f"{CHROMIUM} is missing: `make setup-test` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        browser.close()


def log_in(page: Page, email: str, password: str) -> None:
    """Log in as a person does."""
    page.goto("/login")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard")


def _url(output: str, _log: str) -> str | None:
    found = re.search(r"Address: +(\S+)", output)
    return found.group(1) if found is not None and "Ctrl-C stops it" in output else None

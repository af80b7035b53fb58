"""The application as a whole: what begins before what, and what ends last."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tokenbooth.config.settings import Settings, SettingsError
from tokenbooth.http.server import Message, Receive, Send
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.runtime.application import Application
from tokenbooth.runtime.build import build_application
from tokenbooth.store.migrate import schema_version


class RecordedSandbox:
    """A payment sandbox that remembers how its life went; `look` says what it sees at each step."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self.life: list[tuple[str, object]] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Never asked."""
        raise AssertionError(scope)

    async def start(self) -> None:
        """Begin."""
        self.life.append(("start", self._look()))

    async def aclose(self) -> None:
        """End."""
        self.life.append(("close", self._look()))


def settings(directory: Path, key: str = "sk_test_x") -> Settings:
    """A configuration with Stripe."""
    return Settings.model_validate(
        {
            "store": {"url": f"sqlite:///{directory / 'tokenbooth.db'}", "data_dir": str(directory)},
            "stripe": {"secret_key": key, "webhook_secrets": ["whsec_x"], "api_base": "http://127.0.0.1:1"},
        }
    )


async def test_parts_end_in_the_reverse_of_their_order(tmp_path: Path) -> None:
    """A sandbox begins on a database that is ready, and ends before the database does."""
    application: Application

    def look() -> object:
        return application.store.read_now(schema_version)

    sandbox = RecordedSandbox(look)
    application = build_application(settings(tmp_path), sandbox=sandbox)
    await application.start()
    version = look()
    assert version is not None
    await application.stop(drain_s=1)
    assert sandbox.life == [("start", version), ("close", version)]
    with pytest.raises(StoreUnavailable):
        await application.store.read(schema_version)


async def test_what_was_built_ends_also_if_nothing_began(tmp_path: Path) -> None:
    """A start that fails leaves nothing open."""
    sandbox = RecordedSandbox(lambda: None)
    application = build_application(settings(tmp_path), sandbox=sandbox)
    await application.stop(drain_s=1)
    assert sandbox.life == [("close", None)]
    with pytest.raises(StoreUnavailable):
        await application.store.read(schema_version)


def test_no_sandbox_runs_beside_a_live_key(tmp_path: Path) -> None:
    """Nor is the database touched for it."""
    with pytest.raises(SettingsError, match="no sandbox runs beside a live Stripe key"):
        build_application(settings(tmp_path, "sk_live_x"), sandbox=RecordedSandbox(lambda: None))
    assert list(tmp_path.iterdir()) == []

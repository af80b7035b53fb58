"""A running gateway for the tests over HTTP: one of its own for a test, or one that a file's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway.answer_rig import CHATS_ONLY, AnswerRig, Format, run_answer_rig
from tests.support.gateway.gateway_rig import (
    EVERY_FORMAT,
    JumpingClock,
    MoodyStore,
    Rig,
    open_moody_store,
    run_rig,
    with_routes,
)
from tests.support.gateway.scripted_upstream import ScriptedUpstream, serve_scripts
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.upstream.base import Timeouts


@pytest.fixture
def moody(tmp_path: Path) -> Iterator[MoodyStore]:
    """An empty database that can be sent away."""
    opened = open_moody_store(tmp_path / "tokenbooth.db")
    yield opened
    opened.close()


@pytest.fixture
def rig(moody: MoodyStore, tmp_path: Path) -> Iterator[Rig]:
    """A gateway that runs for one test."""
    with run_rig(moody, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that runs for all tests of a file; each takes an account of its own."""
    directory = tmp_path_factory.mktemp("gateway")
    opened = open_moody_store(directory / "tokenbooth.db")
    try:
        with run_rig(opened, directory) as running:
            yield running
    finally:
        opened.close()


@pytest.fixture
def clock() -> JumpingClock:
    """The time of `timed`."""
    return JumpingClock()


@pytest.fixture
def timed(moody: MoodyStore, tmp_path: Path, clock: JumpingClock) -> Iterator[Rig]:
    """A gateway whose time the test moves."""
    with run_rig(moody, tmp_path, clock=clock) as running:
        yield running


@pytest.fixture(scope="module")
def scripts() -> Iterator[tuple[ScriptedUpstream, str]]:
    """An upstream that says what the tests of a file wrote down."""
    with serve_scripts() as running:
        yield running


@pytest.fixture(scope="module")
def scripted(scripts: tuple[ScriptedUpstream, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway in front of `scripts`, soon tired of silence."""
    directory = tmp_path_factory.mktemp("scripted")
    opened = open_moody_store(directory / "tokenbooth.db")
    try:
        with run_rig(
            opened,
            directory,
            timeouts=Timeouts(connect_s=2, first_byte_s=0.5, idle_s=0.3, whole_answer_s=0.5),
            # Or one test's script would keep the others' from running.
            gateway_settings=GatewaySettings(max_retry_after_s=0, whole_answer_timeout_s=0.5),
            change_catalog=lambda catalog: with_routes(catalog, scripts[1]),
        ) as running:
            yield running
    finally:
        opened.close()


@pytest.fixture(scope="module")
def every_format(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswerRig]:
    """A gateway in front of an upstream that speaks every format, for all tests of a file."""
    with run_answer_rig(tmp_path_factory.mktemp("every"), *EVERY_FORMAT) as running:
        yield running


@pytest.fixture(scope="module")
def chats_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswerRig]:
    """A gateway in front of an upstream that speaks chats only, for all tests of a file."""
    with run_answer_rig(tmp_path_factory.mktemp("chats"), *CHATS_ONLY) as running:
        yield running


@pytest.fixture
def answers(form: Format, every_format: AnswerRig, chats_only: AnswerRig) -> AnswerRig:
    """The gateway for the format that a test's file calls `form`."""
    return chats_only if form == "translated" else every_format

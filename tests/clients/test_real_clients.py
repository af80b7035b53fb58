"""Clients that people use, each in a process and an environment of its own, with nothing changed but address and key.

`make setup-test` installs them: Python's into `.venv/clients`, Node's into `tests/clients/node/node_modules`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.gateway_rig import MODEL, Rig, open_moody_store, run_rig
from tokenbooth.settings import GatewaySettings

HERE: Final = Path(__file__).parent
CLIENTS: Final = Path(sys.prefix) / "clients" / "bin"
NODE: Final = HERE / "node"
TIMEOUT_S: Final = 90


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Say what is missing instead of leaving these tests out."""
    assert CLIENTS.exists(), "`make setup-test` installs Python's clients"
    assert shutil.which("node") is not None, "install Node.js and npm: two of the clients are Node's"
    assert (NODE / "node_modules").exists(), "`make setup-test` installs Node's clients"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that all clients share."""
    directory = tmp_path_factory.mktemp("clients")
    opened = open_moody_store(directory / "tokenbooth.db")
    try:
        with run_rig(opened, directory, gateway_settings=GatewaySettings()) as running:
            yield running
    finally:
        opened.close()


def run(rig: Rig, account: str, *command: str | Path, home: Path, **more: str) -> str:
    """What a client prints; it gets nothing of our own environment but where programs are."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BASE_URL": rig.base_url,
        "API_KEY": rig.credit_key(account),
        "MODEL": MODEL,
        # Nothing is looked up elsewhere, and nothing is told to anybody.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGSMITH_TRACING": "false",
        "AI_SDK_LOG_WARNINGS": "false",
        **more,
    }
    done = subprocess.run(
        list(map(str, command)), env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def results(rig: Rig, account: str, *command: str | Path, home: Path) -> dict[str, object]:
    """The JSON object that a script prints last."""
    decoded: dict[str, object] = json.loads(run(rig, account, *command, home=home).strip().splitlines()[-1])
    return decoded


def endpoints_charged(rig: Rig, account: str) -> list[str]:
    """What the account was charged for; every charge is by the upstream's word unless a stream was cut."""
    return [charge.endpoint for charge in rig.charges(account)]


def test_litellm(rig: Rig, tmp_path: Path) -> None:
    """As a client of OpenAI's face and of Anthropic's, whole and streamed, and for embeddings."""
    account = rig.account("5")
    assert results(rig, account, CLIENTS / "python", HERE / "use_litellm.py", home=tmp_path) == {
        "whole": "One token after",
        "streamed": "One token after the",
        "message": "One token after the other",
        "message_tokens": 5,
        "message_streamed": "One token after the",
        "vectors": 2,
        "refused": "NotFoundError",
    }
    assert endpoints_charged(rig, account) == [
        "chat.completions",
        "chat.completions",
        "messages",
        "messages",
        "embeddings",
    ]


def test_langchain(rig: Rig, tmp_path: Path) -> None:
    """ChatOpenAI: a chat, a stream that counts its tokens, a tool."""
    account = rig.account("5")
    assert results(rig, account, CLIENTS / "python", HERE / "use_langchain.py", home=tmp_path) == {
        "whole": "One token after",
        "whole_tokens": 3,
        "streamed": "One token after the",
        "streamed_tokens": 4,
        "tool": ["look", {"query": "stars"}],
    }
    assert endpoints_charged(rig, account) == ["chat.completions"] * 3


def test_the_llm_command(rig: Rig, tmp_path: Path) -> None:
    """Simon Willison's llm, told of the model in its own file, streamed and not."""
    account = rig.account("5")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: booth\n  model_name: {MODEL}\n  api_base: {rig.base_url}/v1\n  api_key_name: booth\n"
    )
    (tmp_path / "keys.json").write_text(json.dumps({"booth": rig.credit_key(account)}))
    said = [
        run(
            rig,
            account,
            CLIENTS / "llm",
            "-m",
            "booth",
            *options,
            "[[write 3]]",
            home=tmp_path,
            LLM_USER_PATH=str(tmp_path),
        )
        for options in ((), ("--no-stream",))
    ]
    assert said == ["One token after\n", "One token after\n"]
    assert endpoints_charged(rig, account) == ["chat.completions"] * 2


def test_openai_for_node(rig: Rig, tmp_path: Path) -> None:
    """Chat, stream, tools, responses, embeddings, and both kinds of errors."""
    account = rig.account("5")
    got = results(rig, account, "node", NODE / "use_openai.js", home=tmp_path)
    cost = got.pop("cost")
    assert got == {
        "chat": "One token after",
        "streamed": "One token after the",
        "tool": {"name": "look", "arguments": '{"query":"stars"}'},
        "response": "One token",
        "last": "response.completed",
        "vectors": 2,
        "refused": [404, "model_not_found"],
        "broken": "APIError",
    }
    charges = rig.charges(account)
    assert isinstance(cost, float)
    assert round(cost * 10**9) == charges[1].charged_nano
    assert [charge.estimated for charge in charges] == [False] * 6 + [True]


def test_the_ai_sdk_for_node(rig: Rig, tmp_path: Path) -> None:
    """The `ai` package over its provider for compatible servers."""
    account = rig.account("5")
    assert results(rig, account, "node", NODE / "use_ai_sdk.js", home=tmp_path) == {
        "whole": "One token after",
        "streamed": "One token after the",
        "outputTokens": 4,
        "tool": ["look", {"query": "stars"}],
        "refused": 404,
    }
    assert endpoints_charged(rig, account) == ["chat.completions"] * 3

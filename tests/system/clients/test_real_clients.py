"""Clients that people use, each in a process and an environment of its own, with nothing changed but address and key.

`make setup-test` installs them: Python's into `.venv/clients`, Node's into `tests/system/clients/node/node_modules`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.support.gateway.gateway_rig import MODEL, Rig, open_moody_store, run_rig
from tokenbooth.config.settings import GatewaySettings

HERE: Final = Path(__file__).parent
CLIENTS: Final = Path(sys.prefix) / "clients" / "bin"
NODE: Final = HERE / "node"
TIMEOUT_S: Final = 90
# Its budget pays no call, and is renewed in hours.
SPENT: Final[dict[str, object]] = {
    "price_usd": "20",
    "interval": "month",
    "rpm": 600,
    "budget_usd": "0.000001",
    "window": "24h",
}


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
        with run_rig(opened, directory, gateway_settings=GatewaySettings(), spent=SPENT) as running:
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


def results(rig: Rig, account: str, *command: str | Path, home: Path, **more: str) -> dict[str, object]:
    """The JSON object that a script prints last."""
    decoded: dict[str, object] = json.loads(run(rig, account, *command, home=home, **more).strip().splitlines()[-1])
    return decoded


def spent_key(rig: Rig) -> str:
    """A key of a subscription whose window has no budget left."""
    account = rig.account()
    return rig.subscription_key(rig.subscription(account, "spent"), account)


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


def test_a_spent_budget_is_told_at_once(rig: Rig) -> None:
    """OpenAI's SDK and Anthropic's, told to try again twice, neither sleep until the window's end nor try again."""
    key = spent_key(rig)
    with rig.client(key, max_retries=2) as client, pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    with (
        Anthropic(base_url=f"{rig.base_url}/anthropic", api_key=key, max_retries=2) as other,
        pytest.raises(anthropic.RateLimitError) as refused_there,
    ):
        other.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}])

    assert refused.value.code == "budget_exceeded"
    for error in (refused.value, refused_there.value):
        assert "Budget has been exceeded" in str(error)
        assert error.request.headers["x-stainless-retry-count"] == "0"
        assert error.response.headers["x-should-retry"] == "false"
        assert int(error.response.headers["retry-after"]) > 0


async def test_a_spent_budget_is_told_at_once_to_asynchronous_clients(rig: Rig) -> None:
    """Also before a stream."""
    key = spent_key(rig)
    async with rig.async_client(key, max_retries=2) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True)
    async with AsyncAnthropic(base_url=f"{rig.base_url}/anthropic", api_key=key, max_retries=2) as other:
        with pytest.raises(anthropic.RateLimitError) as refused_there:
            await other.messages.create(
                model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}], stream=True
            )

    for error in (refused.value, refused_there.value):
        assert error.request.headers["x-stainless-retry-count"] == "0"


def test_litellm_and_langchain_tell_what_went_wrong(rig: Rig, tmp_path: Path) -> None:
    """A spent budget, and a stream that breaks off, are errors in our words, on both faces."""
    got = results(
        rig, rig.account("5"), CLIENTS / "python", HERE / "use_refused.py", home=tmp_path, SPENT_KEY=spent_key(rig)
    )
    assert got == {
        "litellm_spent": ["RateLimitError", True],
        "litellm_claude_spent": ["RateLimitError", True],
        "litellm_broken": ["MidStreamFallbackError", True],
        "litellm_claude_broken": ["MidStreamFallbackError", True],
        "langchain_spent": ["OpenAIRateLimitError", True],
        "langchain_broken": ["APIError", True],
    }


def test_nodes_clients_tell_what_went_wrong(rig: Rig, tmp_path: Path) -> None:
    """The same in Node."""
    got = results(rig, rig.account("5"), "node", NODE / "use_refused.js", home=tmp_path, SPENT_KEY=spent_key(rig))
    words = "The model's server failed. What came until then cost $"
    for name, status, code, calls, said in (
        ("spent", 429, "budget_exceeded", 1, "Budget has been exceeded"),
        # This one tries again whatever it is told, but takes no wait of hours from a server.
        ("aiSpent", 429, None, 2, "Budget has been exceeded"),
        ("aiBroken", None, "upstream_error", 1, words),
    ):
        told = got[name]
        assert isinstance(told, dict)
        assert (told["status"], told["code"], told["calls"]) == (status, code, calls)
        assert said in told["message"]

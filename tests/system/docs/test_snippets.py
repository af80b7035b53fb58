"""Every snippet of README.md and docs/ runs as it stands there, and every answer shown is the one that comes."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

import pytest

from tests.support.command import Running, running
from tests.system.docs.pages import PAGES, RUNNABLE, SHOWN_ONLY, Snippet, name_of, snippets
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.settings import load_settings
from tokenbooth_sandbox.demo_texts import MODEL

ALL: Final = [snippet for page in PAGES for snippet in snippets(page)]
RUN: Final = [snippet for snippet in ALL if snippet.not_run is None]
LEFT_OUT: Final = [snippet for snippet in ALL if snippet.not_run is not None]
COMMANDS: Final = frozenset({"sh", "bash", "python"})
PLAYED: Final = [page for page in PAGES if any(s.language in COMMANDS and not s.not_run for s in snippets(page))]
ACCESS: Final = "tokenbooth-demo/demo.json"
TIMEOUT_S: Final = 60

# What differs from run to run, and what stands for it when two answers are compared.
_CHANGING: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<instant>"),
    (re.compile(r"\b(acct|sub|key|mkey|req)_[0-9a-f]{26}\b"), r"<\1>"),
    (re.compile(r"\b(sk_live|mk|cs_test)_\w+"), r"<\1>"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"[A-Za-z0-9_-]{40,}"), "<cursor>"),
)


def _demo_url(output: str, _log: str) -> str | None:
    return "ready" if "Ctrl-C stops it" in output else None


@contextmanager
def _demo(cwd: Path) -> Iterator[Running]:
    with running("demo", "--port", "0", cwd=cwd, find_url=_demo_url) as demo:
        yield demo


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TOKENBOOTH_") and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
        "NO_PROXY": "127.0.0.1",
    }


class _Play:
    """A page's commands, run in one shell; each snippet's output is kept by its line."""

    def __init__(self, commands: list[Snippet], cwd: Path) -> None:
        self._commands = commands
        self._cwd = cwd
        script = ["set -eu"]
        for snippet in commands:
            script.append(f"exec >{snippet.line}.out 2>{snippet.line}.err")
            if snippet.language == "python":
                (cwd / f"{snippet.line}.py").write_text(snippet.text, encoding="utf-8")
                script.append(f"{shlex.quote(sys.executable)} {snippet.line}.py")
            else:
                script.append(snippet.text)
        (cwd / "page.sh").write_text("\n".join(script), encoding="utf-8")
        self._done = subprocess.run(["sh", "page.sh"], cwd=cwd, env=_environment(cwd), timeout=TIMEOUT_S)

    def check(self) -> None:
        """All commands ran to their end."""
        if self._done.returncode == 0:
            return
        reached = [snippet for snippet in self._commands if (self._cwd / f"{snippet.line}.err").exists()]
        errors = (self._cwd / f"{reached[-1].line}.err").read_text(encoding="utf-8")
        raise AssertionError(f"{reached[-1]} failed with {self._done.returncode}:\n{errors}")

    def output(self, snippet: Snippet) -> str:
        """What a snippet printed."""
        return (self._cwd / f"{snippet.line}.out").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PLAYED, ids=name_of)
def test_a_pages_commands_run_and_answer_as_shown(tmp_path: Path, page: Path) -> None:
    """Pasted one after the other into a shell, the commands succeed, and print what follows them."""
    played = [s for s in snippets(page) if s.not_run is None and s.language in COMMANDS | {"json", "text"}]
    commands = [snippet for snippet in played if snippet.language in COMMANDS]
    if any(ACCESS in snippet.text for snippet in commands):
        with _demo(tmp_path):
            play = _Play(commands, tmp_path)
    else:
        play = _Play(commands, tmp_path)
    play.check()
    before: Snippet | None = None
    for snippet in played:
        if snippet.language in COMMANDS:
            before = snippet
            continue
        assert before is not None, f"{snippet} stands before any command"
        if snippet.language == "text":
            assert play.output(before) == snippet.text, str(snippet)
            continue
        shown = json.loads(snippet.text)
        assert _steady(_last_json(play.output(before), shown)) == _steady(shown), str(snippet)


def test_the_shape_of_a_script_with_jq(tmp_path: Path) -> None:
    """A script that keeps answers in variables, unquoted, and picks values under `.data` gets a key that works."""
    # Not jq itself, which a machine may lack: what the script does with its output is what matters.
    picker = f"{shlex.quote(sys.executable)} pick.py"
    (tmp_path / "pick.py").write_text(
        "import json, re, sys\n"
        "value = json.load(sys.stdin)\n"
        "for name, index in re.findall(r'(\\w+)(?:\\[(\\d+)\\])?', sys.argv[2]):\n"
        "    value = value[name][int(index)] if index else value[name]\n"
        "print(value)\n",
        encoding="utf-8",
    )
    with _demo(tmp_path):
        access = json.loads((tmp_path / ACCESS).read_text(encoding="utf-8"))
        script = f"""
        set -eu
        jq() {{ {picker} "$@"; }}
        BASE={access["baseUrl"]}
        AUTH="Authorization: Bearer {access["managementKey"]}"
        JSON="Content-Type: application/json"
        PAGE=$(curl -s -X POST $BASE/api/billing/checkout -H "$AUTH" -H "$JSON" -d '{{"planSlug": "pro"}}' \
          | jq -r '.data.sessionUrl')
        curl -s -X POST $PAGE -d card=4242424242424242 >/dev/null
        STATUS=$(curl -s $BASE/api/billing/status -H "$AUTH")
        SUB=$(echo $STATUS | jq -r '.data.subscriptions[0].id')
        KEY=$(curl -s -X POST $BASE/api/keys/subscription -H "$AUTH" -H "$JSON" \
          -d "{{\\"name\\": \\"my-app\\", \\"subscriptionId\\": \\"$SUB\\"}}" | jq -r '.data.apiKey')
        curl -s $BASE/v1/chat/completions -H "Authorization: Bearer $KEY" -H "$JSON" \
          -d '{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
        """
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=tmp_path,
            env=_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    assert json.loads(done.stdout)["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("snippet", [s for s in RUN if s.language == "toml"], ids=str)
def test_every_configuration_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snippet: Snippet) -> None:
    """A piece of configuration is one that a server would start with."""
    for table in tomllib.loads(snippet.text).values():
        for name, value in _leaves(table):
            if name.endswith("_env"):
                monkeypatch.setenv(value, "sk_test_for_the_docs")
    path = tmp_path / "tokenbooth.toml"
    path.write_text(snippet.text, encoding="utf-8")
    build_catalog(load_settings(path), today=date(2026, 11, 23))


@pytest.mark.parametrize("snippet", LEFT_OUT, ids=str)
def test_what_is_left_out_is_listed(snippet: Snippet) -> None:
    """A snippet that is not run says why; it shows up as skipped."""
    pytest.skip(f"{snippet}: {snippet.not_run}")


def test_every_snippet_has_a_language() -> None:
    """A block without a language, or with one that nobody checks, would be neither run nor left out."""
    assert [str(snippet) for snippet in ALL if snippet.language not in RUNNABLE | SHOWN_ONLY] == []


def _leaves(table: object) -> Iterator[tuple[str, str]]:
    """The names and values of all texts in a table, however deep."""
    if not isinstance(table, dict):
        return
    for name, value in table.items():
        if isinstance(value, str):
            yield str(name), value
        else:
            yield from _leaves(value)


def _last_json(output: str, shown: object) -> object:
    """The last JSON document of an output; its payload alone, where the page shows no envelope."""
    lines = [line for line in output.splitlines() if line.startswith(("{", "["))]
    assert lines, f"no JSON was printed:\n{output}"
    answer: object = json.loads(lines[-1])
    if isinstance(answer, dict) and "success" in answer and not (isinstance(shown, dict) and "success" in shown):
        return answer["data"]
    return answer


def _steady(value: object) -> object:
    """The value with everything that changes from run to run replaced by its kind."""
    match value:
        case str():
            for pattern, kind in _CHANGING:
                value = pattern.sub(kind, value)
            return value
        case list():
            return [_steady(item) for item in value]
        case dict():
            return {name: _steady(item) for name, item in value.items()}
        case _:
            return value

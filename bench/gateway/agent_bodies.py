"""Chat completion requests as a coding agent sends them: twenty tools, turns full of code, a third of them in parts.

The same size always makes the same bytes. Code is what makes such a body dear to look at: it is full of quotes, which
JSON escapes, and of brackets, which are no structure of the body.
"""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Final

SIZES: Final[Mapping[str, int]] = {"7 KB": 7_000, "30 KB": 30_000, "200 KB": 200_000, "1 MB": 1_000_000}

_TOOLS: Final = [
    "read_file",
    "write_file",
    "edit_file",
    "delete_file",
    "move_file",
    "list_files",
    "search_text",
    "search_names",
    "run_command",
    "stop_command",
    "read_output",
    "fetch_page",
    "open_diff",
    "apply_patch",
    "run_tests",
    "list_symbols",
    "rename_symbol",
    "git_log",
    "git_blame",
    "ask_user",
]
_LINES: Final = (
    'if (items[{n}]["name"] === "{w}") {{ return [...done, {{ id: {n}, path: "src/{w}.ts" }}]; }}',
    '    for key, value in config["{w}"].items():  # {n} of them, as a rule',
    '        result[key] = {{"{w}": [value, {n}], "path": f"{{root}}/{w}"}}',
    'assert parse("{{\\"{w}\\": [{n}, {n}]}}") == {{"{w}": [{n}, {n}]}}',
    '\tfmt.Printf("%s: %v\\n", {w}[{n}:], map[string][]int{{"{w}": {{{n}}}}})',
    "def {w}_{n}(self, given: dict[str, list[int]]) -> tuple[int, ...]:",
    '<div class="{w}" data-ids=\'[{n}, {n}]\'>{{{{ t("{w}.title") }}}}</div>',
    "# {w}: the {n}th line says in plain words what the ones below it do, and why",
)
_WORDS: Final = [
    "account",
    "balance",
    "buffer",
    "client",
    "config",
    "cursor",
    "event",
    "handler",
    "index",
    "ledger",
    "parser",
    "queue",
    "request",
]


def agent_body(model: str, size_bytes: int, *, stream: bool = False) -> bytes:
    """The body of a request.

    Args:
        model: the model that it names.
        size_bytes: how large it is; from 6,500 bytes on it is exact.
        stream: whether it asks for a stream.
    """
    rng = random.Random(size_bytes)
    fields: dict[str, object] = {
        "model": model,
        "stream": stream,
        "max_tokens": 4_096,
        "temperature": 0,
        "tools": [_tool(name) for name in _TOOLS],
        "tool_choice": "auto",
    }
    messages: list[object] = [{"role": "system", "content": "You write code. Call tools to look before you change."}]
    left = size_bytes - len(_encode({**fields, "messages": messages}))
    for message in _turns(rng):
        left -= len(_encode(message)) + 1
        if left < 0:
            left += len(_encode(message)) + 1
            break
        messages.append(message)
    last = {"role": "user", "content": ""}
    padding = left - len(_encode(last)) - 1
    # Where not even a last turn fits, the one before it grows.
    messages += [{**last, "content": "." * padding}] if padding >= 0 else []
    return _encode({**fields, "messages": messages}) + b" " * (left if padding < 0 else 0)


def _turns(rng: random.Random) -> Iterator[dict[str, object]]:
    """The turns of an agent's work, without end: asked in parts, tools called, their results, a word about it."""
    call = 0
    while True:
        call += 1
        text = {"type": "text", "text": _code(rng, 6)}
        yield {"role": "user", "content": [text, {"type": "text", "text": _code(rng, 2)}]}
        yield {"role": "assistant", "content": None, "tool_calls": [_call(rng, call)]}
        yield {"role": "tool", "tool_call_id": f"call_{call:06d}", "content": _code(rng, 40)}
        yield {"role": "assistant", "content": [{"type": "text", "text": _code(rng, 4)}]}
        yield {"role": "user", "content": _code(rng, 3)}
        yield {"role": "assistant", "content": _code(rng, 10)}


def _call(rng: random.Random, number: int) -> dict[str, object]:
    arguments = json.dumps({"path": f"src/{rng.choice(_WORDS)}.py", "lines": [1, 200], "text": _code(rng, 2)})
    function = {"name": rng.choice(_TOOLS), "arguments": arguments}
    return {"id": f"call_{number:06d}", "type": "function", "function": function}


def _code(rng: random.Random, lines: int) -> str:
    return "\n".join(rng.choice(_LINES).format(n=rng.randrange(1_000), w=rng.choice(_WORDS)) for _ in range(lines))


def _tool(name: str) -> dict[str, object]:
    path = {"type": "string", "description": "The path"}
    lines = {"type": "array", "items": {"type": "integer"}}
    parameters = {"type": "object", "properties": {"path": path, "lines": lines}, "required": ["path"]}
    return {"type": "function", "function": {"name": name, "description": f"Do {name}", "parameters": parameters}}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

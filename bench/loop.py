"""How long the event loop is held at most, and how much memory is taken, by bodies as hostile as the limits allow.

The server is the real one. A timer on its event loop measures each turn: in CPU time of the loop's thread, which
neighbours of the machine don't disturb, and in wall time. Memory is the peak above what the process had before. Run it
with `make bench-loop`, or with `ARGS="--only numbers --src PATH"`; it prints figures and asserts nothing.
"""

import argparse
import http.client
import mmap
import os
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.gateway.agent_bodies import agent_body
from bench.gateway.answers import WHOLE_MODEL, question
from bench.gateway.booth import Prepared, prepare
from bench.gateway.gateways import Place
from bench.gateway.processes import Cores, Running, free_port

SIZE: Final = 20 * 1024 * 1024 - 4_096
_TICK_S: Final = 0.0005
# The longest turn in CPU and in wall seconds, and the number of the measurement that both belong to.
_FIGURES: Final = struct.Struct("ddd")
# The number of the measurement that is asked for.
_ASKED: Final = struct.Struct("d")
_SHARED_BYTES: Final = _FIGURES.size + _ASKED.size
_MIB: Final = 1024 * 1024
_CHAT: Final = "/v1/chat/completions"
_MESSAGES: Final = "/anthropic/v1/messages"
_SOURCES: Final = Path(__file__).parents[1] / "src"


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """A name, a path, and a body of the largest size that is taken."""
    yield "chat: small", _CHAT, question(WHOLE_MODEL)
    yield "chat: an agent's, 1 MB", _CHAT, agent_body(WHOLE_MODEL, 1_000_000)
    yield "chat: an agent's, 4 MB", _CHAT, agent_body(WHOLE_MODEL, 4_000_000)
    yield "chat: an agent's, 8 MB", _CHAT, agent_body(WHOLE_MODEL, 8_000_000)
    image = b'[{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}]'
    yield "chat: one image", _CHAT, _content(image % (b"A" * (SIZE - 100)))
    yield "chat: one text", _CHAT, _content(b'"%b"' % (b"x" * SIZE))
    yield "chat: one text beyond ASCII", _CHAT, _content('"{}"'.format("é" * (SIZE // 2 - 4) + "😀").encode())
    yield "chat: one text of escapes", _CHAT, _content(b'"%b"' % (b"\\n" * (SIZE // 2)))
    yield "chat: one text of quotes", _CHAT, _content(b'"%b"' % (b'\\"' * (SIZE // 2)))
    yield "chat: one text of brackets", _CHAT, _content(b'"%b"' % (b"[1,2]," * (SIZE // 6)))
    yield "chat: content of numbers", _CHAT, _content(_many(b"1"))
    yield "chat: content of texts", _CHAT, _content(_many(b'""'))
    yield "chat: content of parts", _CHAT, _content(_many(b'{"type":"text"}'))
    yield (
        "chat: as many parts as allowed",
        _CHAT,
        _content(_many(b'{"type":"text","text":"%b"}' % (b"x" * 800), 24_000)),
    )
    yield "chat: as many texts as allowed", _CHAT, _content(_many(b'"%b"' % (b"x" * 190), 99_000))
    yield "chat: as many messages as allowed", _CHAT, _chat(_many(b'{"content":"%b"}' % (b"x" * 480), 39_000))
    yield "chat: as many names as allowed", _CHAT, _chat(b'[{"content":[]%b}]' % _names(49_000))
    yield "chat: nothing but messages", _CHAT, _chat(_many(b"{}"))
    yield "chat: tools of numbers", _CHAT, _chat(b"[]", b',"tools":' + _many(b"1"))
    yield "chat: nothing but tools", _CHAT, _chat(b"[]", b',"tools":' + _many(b'{"type":"function"}'))
    tool = b'{"type":"function","x":"%b"}' % (b"x" * 480)
    yield "chat: as many tools as allowed", _CHAT, _chat(b"[]", b',"tools":' + _many(tool, 24_000))
    yield "chat: numbers in a field that nobody knows", _CHAT, _chat(b"[]", b',"x":' + _many(b"1"))
    yield "chat: names at the top level", _CHAT, _chat(b"[]", b"".join([b',"a":1'] * (SIZE // 6)))
    yield "chat: different names at the top level", _CHAT, _chat(b"[]", _names(SIZE // 14))
    yield "chat: lists in lists", _CHAT, _chat(b"[]", b',"x":%b%b' % (b"[" * (SIZE // 2), b"]" * (SIZE // 2)))
    yield "chat: lists of 120 levels", _CHAT, _chat(b"[]", b',"x":' + _many(b"[" * 120 + b"]" * 120, 320))
    yield "chat: a number of 20 MB", _CHAT, _chat(b"[]", b',"max_tokens":' + b"9" * SIZE)
    yield "chat: a model's name of 20 MB", _CHAT, b'{"model":"' + b"x" * SIZE + b'"}'
    yield "chat: white space", _CHAT, _chat(b"[" + b" " * SIZE + b"]")
    yield "chat: no JSON at its end", _CHAT, _content(b'"%b"' % (b"x" * SIZE))[:-1]
    ids = _many(b"123456", 990_000)
    yield "embeddings: as many token ids as allowed", "/v1/embeddings", _asked(b"input", ids)
    yield "embeddings: token ids", "/v1/embeddings", _asked(b"input", _many(b"1"))
    yield "embeddings: texts", "/v1/embeddings", _asked(b"input", _many(b'""', 900_000))
    lists = b"[%b]" % b",".join([_many(b"123", 480)] * 2_000)
    yield "completions: lists of token ids", "/v1/completions", _asked(b"prompt", lists)
    yield "responses: input of numbers", "/v1/responses", _asked(b"input", _many(b"1"))
    item = b'{"role":"user","content":[{"type":"input_text","text":"%b"}]}'
    yield "responses: as many items as allowed", "/v1/responses", _asked(b"input", _many(item % (b"x" * 1_400), 13_000))
    yield "messages: content of numbers", _MESSAGES, _message(_many(b"1"))
    block = b'{"type":"text","text":"%b"}'
    yield "messages: as many blocks as allowed", _MESSAGES, _message(_many(block % (b"x" * 800), 24_000))
    use = b'[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":"%b"}}]}]'
    yield "messages: a tool's input of quotes", _MESSAGES, _anthropic(use % (b'\\"' * (SIZE // 2)))
    result = b'{"type":"tool_result","tool_use_id":"t","content":%b}'
    yield (
        "messages: a tool's result of 10 MB of JSON",
        _MESSAGES,
        _message(b"[%b]" % (result % (b'"%b"' % (b'{\\"a\\":[1,2]},' * (SIZE // 30))))),
    )
    yield "messages: nested results", _MESSAGES, _message(_nested(result, 50, b'"%b"' % (b"x" * (SIZE - 8_000))))
    yield (
        "count_tokens: as many blocks as allowed",
        f"{_MESSAGES}/count_tokens",
        _message(_many(block % (b"x" * 800), 24_000)),
    )


def _many(item: bytes, count: int | None = None) -> bytes:
    return b"[%b]" % b",".join([item] * (count or SIZE // (len(item) + 1)))


def _names(count: int) -> bytes:
    return b"".join(b',"a%07d":1' % number for number in range(count))


def _nested(around: bytes, levels: int, inner: bytes) -> bytes:
    for _ in range(levels):
        inner = b"[%b]" % around.replace(b"%b", inner)
    return inner


def _chat(messages: bytes, more: bytes = b"") -> bytes:
    return b'{"model":"%b","messages":%b%b}' % (WHOLE_MODEL.encode(), messages, more)


def _content(content: bytes) -> bytes:
    return _chat(b'[{"role":"user","content":%b}]' % content)


def _asked(name: bytes, value: bytes) -> bytes:
    return b'{"model":"%b","%b":%b}' % (WHOLE_MODEL.encode(), name, value)


def _anthropic(messages: bytes) -> bytes:
    return _chat(messages, b',"max_tokens":1000')


def _message(content: bytes) -> bytes:
    return _anthropic(b'[{"role":"user","content":%b}]' % content)


def main() -> None:
    """Measure and print, or serve with a timer on the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="bodies with this in their name")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is sent; the least of them counts")
    parser.add_argument("--src", type=Path, default=_SOURCES, help="the directory with the package")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tokenbooth-loop-") as directory,
        _server(asked.src.resolve(), Path(directory)) as (prepared, server, figures),
    ):
        print(f"{'':46}{'MiB':>6}{'held ms':>9}{'wall ms':>9}{'memory':>9}  answer")
        for name, path, body in bodies():
            if asked.only in name:
                rounds = [_measure(prepared, server, figures, path, body) for _ in range(asked.rounds)]
                held_s, wall_s, peak_bytes = (min(figure) for figure in zip(*(one[:3] for one in rounds), strict=True))
                times = f"{peak_bytes / len(body):.1f} ×" if len(body) > _MIB else "–"
                print(
                    f"{name:46}{len(body) / _MIB:6.1f}{held_s * 1e3:9.1f}{wall_s * 1e3:9.1f}{times:>9}  {rounds[0][3]}",
                    flush=True,
                )


def _measure(
    prepared: Prepared, server: Running, figures: mmap.mmap, path: str, body: bytes
) -> tuple[float, float, int, str]:
    """The longest turn in CPU and in wall seconds, the peak of memory in bytes, and what was answered."""
    pid = server.process.pid
    time.sleep(0.2)
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = _memory_bytes(pid, "VmRSS:")
    number = _ASKED.unpack_from(figures, _FIGURES.size)[0] + 1
    _ASKED.pack_into(figures, _FIGURES.size, number)
    while _FIGURES.unpack_from(figures)[2] != number:
        time.sleep(0.001)
    connection = http.client.HTTPConnection("127.0.0.1", prepared.port, timeout=600)
    headers = {"authorization": f"Bearer {prepared.key}", "content-type": "application/json"}
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = f"{answer.status} {answer.read()[:100].decode(errors='replace')}"
    except OSError as failure:
        said = repr(failure)
    finally:
        connection.close()
    time.sleep(0.1)
    held_s, wall_s, _ = _FIGURES.unpack_from(figures)
    return held_s, wall_s, _memory_bytes(pid, "VmHWM:") - before, said


def _memory_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


@contextmanager
def _server(source: Path, directory: Path) -> Iterator[tuple[Prepared, Running, mmap.mmap]]:
    cores, port = Cores.pick(), free_port()
    env = {"PYTHONPATH": f"{source}{os.pathsep}{Path(__file__).parents[1]}"}
    shared = directory / "figures"
    shared.write_bytes(bytes(_SHARED_BYTES))
    command = [sys.executable, "-m", "bench.gateway.stream_server", str(port)]
    upstream = Running.start(command, core=cores.load, log=directory / "upstream.log", env=env)
    try:
        prepared = prepare(Place(directory, port, port, cores), env)
        # The same program, with a timer on its loop.
        program = [sys.executable, "-c", "from bench.loop import serve; serve()", str(shared)]
        server = Running.start([*program, *prepared.command[3:]], core=cores.gateway, log=directory / "log", env=env)
        try:
            _wait_until_ready(prepared, server)
            with shared.open("r+b") as file, mmap.mmap(file.fileno(), _SHARED_BYTES) as figures:
                yield prepared, server, figures
        finally:
            server.stop()
    finally:
        upstream.stop()


def _wait_until_ready(prepared: Prepared, server: Running) -> None:
    while not server.has_ended():
        connection = http.client.HTTPConnection("127.0.0.1", prepared.port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError(f"the server ended:\n{server.last_words()}")


def serve() -> None:
    """Run the program with a timer on its loop; the longest turns go to the file that the first argument names."""
    import uvloop

    from tokenbooth.cli import main as run

    _, shared, *arguments = sys.argv
    sys.argv = ["tokenbooth", *arguments]
    new_loop = uvloop.new_event_loop
    file = Path(shared).open("r+b")  # noqa: SIM115 - as long as the process
    figures = mmap.mmap(file.fileno(), _SHARED_BYTES)

    def with_timer() -> uvloop.Loop:
        loop = new_loop()
        last = [time.thread_time(), time.perf_counter()]

        def tick() -> None:
            cpu_s, wall_s = time.thread_time(), time.perf_counter()
            held_s, silent_s, number = _FIGURES.unpack_from(figures)
            asked = _ASKED.unpack_from(figures, _FIGURES.size)[0]
            if number == asked:
                held_s, silent_s = max(held_s, cpu_s - last[0]), max(silent_s, wall_s - last[1] - _TICK_S)
            else:
                held_s = silent_s = 0.0
            _FIGURES.pack_into(figures, 0, held_s, silent_s, asked)
            last[:] = time.thread_time(), time.perf_counter()
            loop.call_later(_TICK_S, tick)

        loop.call_soon(tick)
        return loop

    uvloop.new_event_loop = with_timer
    run()


if __name__ == "__main__":
    main()

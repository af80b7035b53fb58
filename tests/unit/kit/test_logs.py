"""Logging."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tokenbooth.kit.logs import LogFormat, configure_logging, redact, redact_secrets

SAMPLES = [("mk_", 48), ("sk_live_", 48), ("sk_test_", 20), ("whsec_", 32), ("sk_live_", 2)]
KEYS = [prefix + "9" * length for prefix, length in SAMPLES]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put the process's logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(("prefix", "length"), SAMPLES)
def test_what_looks_like_a_key_is_masked_anywhere(prefix: str, length: int) -> None:
    """In names, in values, and however deep; the prefix stays, to tell what it was."""
    key = prefix + "9" * length
    event = {"a": f"Bearer {key}", key: 1, "deep": [{"x": (key,)}, key.encode(), ValueError(key)], "n": 5}
    masked = redact_secrets(None, "info", event)
    assert key not in repr(masked)
    assert masked["n"] == 5
    assert redact(f"with {key}, here") == f"with {prefix}…, here"


def test_words_that_only_contain_a_prefix_stay() -> None:
    """A name such as "chunk_size" is no key."""
    assert redact("chunk_size, homk_x, mk_ alone") == "chunk_size, homk_x, mk_ alone"


@pytest.mark.parametrize("log_format", ["json", "console", "auto"])
def test_no_key_reaches_the_output(log_format: LogFormat) -> None:
    """Neither from our own lines, nor from a library's, nor in a traceback."""
    out = io.StringIO()
    configure_logging(log_format, stream=out)
    log = structlog.get_logger("tokenbooth.test")
    log.info("ours", key=KEYS[0])
    logging.getLogger("library").warning("theirs %s", KEYS[1])
    try:
        raise ValueError(KEYS[2])
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed, too")
    written = out.getvalue()
    assert "ours" in written
    assert "theirs" in written
    assert written.count("ValueError") >= 2
    assert not any(key in written for key in KEYS[:3])


def test_json_lines_can_be_read_by_machines() -> None:
    """One object a line, with time, level and logger."""
    out = io.StringIO()
    configure_logging("auto", stream=out)
    structlog.get_logger("tokenbooth.test").info("started", port=8080)
    logging.getLogger("tokenbooth.test").debug("dropped")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 1
    assert (lines[0]["event"], lines[0]["port"], lines[0]["level"]) == ("started", 8080, "info")
    assert lines[0]["logger"] == "tokenbooth.test"
    assert lines[0]["timestamp"].endswith("Z")

"""Logging: for people on a terminal, JSON lines otherwise; nothing that looks like a key ever gets through.

Everything of the program and of the libraries below it goes through one chain of processors, whose last step before
writing masks keys in every value.
"""

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Final, Literal, TextIO

import structlog

LogFormat = Literal["auto", "console", "json"]

_KEY: Final = re.compile(r"(?<![0-9A-Za-z])(mk_|sk_live_|sk_test_|rk_live_|rk_test_|whsec_)[0-9A-Za-z_+/=-]+")
_MASKED: Final = r"\1…"


def redact(text: str) -> str:
    """The text with everything that looks like a key cut down to the key's prefix."""
    return _KEY.sub(_MASKED, text)


def redact_secrets(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """A structlog processor that redacts every value, however deep, and every name."""
    return {redact(name): _redacted(value) for name, value in event.items()}


def configure_logging(log_format: LogFormat, *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Set up logging for the whole process; called once, by the composition root.

    Args:
        log_format: "auto" is the console's form on a terminal and JSON otherwise.
        level: what is below it is dropped.
        stream: where to write; the standard error stream if None.
    """
    out = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_secrets,
                _renderer(log_format, out),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The SDK tells every call, and at lower levels its bodies with customers' addresses; failures are told by us.
    logging.getLogger("stripe").setLevel(logging.WARNING)


def _renderer(log_format: LogFormat, out: TextIO) -> structlog.typing.Processor:
    if log_format == "console" or (log_format == "auto" and out.isatty()):
        return structlog.dev.ConsoleRenderer(colors=out.isatty())
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _redacted(value: object) -> object:
    match value:
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode("utf-8", "replace"))
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {redact(str(name)): _redacted(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(inner) for inner in value]
        case _:
            return redact(str(value))


def where(failure: BaseException) -> list[str]:
    """The places that an exception came through, outermost first.

    That is what a log line says of one that nobody foresaw, never its text: a driver's text quotes the values of the
    statement that failed.
    """
    frames = traceback.extract_tb(failure.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]

"""docs/operating.md names everything that an operator meets: settings, commands, paths, metrics, log lines."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tests.support.figures import GatewayFigures, sources_of
from tests.support.gateway.gateway_rig import run_rig
from tests.support.management import management_plane
from tests.system.docs.pages import ROOT, codes, read, rows, section
from tokenbooth.cli import app as command_line
from tokenbooth.config.settings import Settings
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.plan_changes import MAX_CHANGES_A_DAY
from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.jobs.upkeep import KEEP_FAILED_LOG_INS_US, KEEP_INBOX_US, KEEP_PROCESSES_US
from tokenbooth.kit.networks import SITE_FACTOR
from tokenbooth.runtime.metrics import Metrics
from tokenbooth.services.usdc import MAX_PENDING_HASHES
from tokenbooth.store.accounts import audit_log, idempotency, sessions
from tokenbooth.store.accounts.key_counts import ROWS_PER_LIVE_KEY
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import metadata

PAGE: Final = read("operating.md")
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOGGERS: Final = frozenset({"log", "_log", "logger", "_logger"})
EVERYWHERE: Final = frozenset({"--config", "--json", "--help"})


def _table(heading: str) -> dict[str, tuple[str, ...]]:
    """The rows below a heading by what stands as code in their first cell."""
    found = rows(section(PAGE, heading))
    return {name: row for row in found for name in codes(row[0])}


def test_every_setting_is_named_with_its_default() -> None:
    """The table has each key of the configuration, its default, and no key that there is not."""
    named = {key: codes(row[1])[0] if codes(row[1]) else row[1] for key, row in _table("Settings").items()}
    assert named == dict(_settings(Settings, ""))


def test_every_command_is_named_with_its_options() -> None:
    """The table has each command of the program and each option that only some of them have."""
    named = {name: set(codes(row[2])) for name, row in _table("Commands").items()}
    assert named == dict(_commands(command_line, "tokenbooth "))


def test_every_metric_is_named(tmp_path: Path) -> None:
    """The table has each figure of ours that Prometheus gets, and no other."""
    metrics = Metrics("0", sources_of(GatewayFigures(), tmp_path)).render().decode()
    families = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE")}
    ours = {name for name in families if name.startswith("tokenbooth_") and not name.endswith("_created")}
    assert set(_table("Metrics")) == ours


def test_every_log_line_is_named_with_its_level() -> None:
    """The table has each event that the source logs, with its level, and says what to do; and no other event."""
    table = _table("Log lines, and what to do at three in the morning")
    assert {event: row[1] for event, row in table.items()} == dict(_events())
    assert [event for event, row in table.items() if not row[2] or not row[3]] == []


async def test_every_path_of_the_management_plane_is_named(store: Store) -> None:
    """The table covers each route of the management plane, by its path or by the beginning of it."""
    async with management_plane(store) as plane:
        described = plane.app.openapi()["paths"]
    paths = [f"{method.upper()} {path}" for path, methods in described.items() for method in methods]
    assert "GET /healthz" in paths
    assert [path for path in [*paths, "GET /openapi.json", "GET /metrics", "GET /"] if not _covered(path)] == []


def test_every_path_of_the_data_plane_is_named(store: Store, tmp_path: Path) -> None:
    """The table covers each route of the data plane."""
    with run_rig(store, tmp_path) as rig:
        paths = [" ".join(route) for route in rig.gateway.routes | rig.gateway.PAID_ROUTES]
    assert [path for path in paths if not _covered(path)] == []


def _covered(path: str) -> bool:
    """Whether a method and path stand in the table, or begin with something that ends in an ellipsis there."""
    bare = path.partition(" ")[2]
    beginnings = [name.removesuffix("…") for name in _table("Paths") if name.endswith("…")]
    return path in _table("Paths") or bare in _table("Paths") or bare.startswith(tuple(beginnings))


def _settings(table: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """Each key below a table with its default as the page writes it."""
    for name, field in table.model_fields.items():
        name = field.alias or name
        key = f"{prefix}{name}"
        inner, is_map = _inner(field.annotation)
        if inner is None:
            yield key, _default(name, field)
        elif is_map:
            yield from _settings(inner, f"{key}.<{'slug' if name == 'plans' else 'name'}>.")
        else:
            if prefix:
                yield key, _default(name, field)
            yield from _settings(inner, f"{key}.")


def _inner(annotation: object) -> tuple[type[BaseModel] | None, bool]:
    """The table in an annotation (None for a plain value), and whether there is a map of them."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    found = [table for table, _ in map(_inner, arguments) if table is not None]
    return next(iter(found), None), origin is dict


def _as_written(duration_us: int) -> str:
    days, rest_us = divmod(duration_us, DAY_US)
    return f"{days}d" if days else f"{rest_us // HOUR_US}h"


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    match field.default:
        case None:
            return "none"
        case bool():
            return str(field.default).lower()
        case int() if name in ("renewal_grace", "young_account"):
            return _as_written(field.default)
        case int() if "usd" in name:
            return format_usd(field.default).removesuffix(".00")
        case float():
            return f"{field.default:g}"
        case _:
            return str(field.default)


def test_every_table_is_listed_with_what_bounds_it() -> None:
    """A new table has to say who can make it grow, how far, and how long a row stays."""
    listed = rows(section(PAGE, "What accounts can make grow"))
    assert sorted(name for row in listed for name in codes(row[0])) == sorted(metadata.tables)
    assert [row for row in listed if not all(row)] == []


def test_the_bounds_of_tables_are_those_of_the_program() -> None:
    """The figures stand in the rows, and the settings that they name are there."""
    table = _table("What accounts can make grow")
    settings = dict(_settings(Settings, ""))
    named = {name for row in table.values() for cell in row for name in codes(cell) if "." in name}
    assert named - set(settings) == set()
    figures: dict[str, list[int | str]] = {
        "sessions": [sessions.MAX_PER_ACCOUNT],
        "mail_links": [sessions.MAX_LINKS_PER_HOUR],
        "audit_log": [
            audit_log.REPEATED_PER_ACCOUNT,
            audit_log.FAILED_PER_ACCOUNT,
            audit_log.FAILED_IN_ALL,
            KEEP_FAILED_LOG_INS_US // DAY_US,
        ],
        "idempotency_records": [idempotency.MAX_ANSWER_BYTES // 1_024],
        "checkouts": [settings["billing.max_declined_cards_per_day"], MAX_CHANGES_A_DAY],
        "inbox": [KEEP_INBOX_US // DAY_US],
        "deposit_hints": [MAX_PENDING_HASHES],
        "gateway_processes": [KEEP_PROCESSES_US // DAY_US],
    }
    missing = {
        name: figure
        for name, wanted in figures.items()
        for figure in wanted
        if (figure if isinstance(figure, str) else f"{figure:,}") not in re.findall(r"[\d,]*\d", " ".join(table[name]))
    }
    assert (missing, ROWS_PER_LIVE_KEY, SITE_FACTOR) == ({}, 10, 10)


def test_every_action_of_the_audit_log_is_named() -> None:
    """Whatever may stand in the column, and nothing else."""
    named = {action for row in rows(section(PAGE, "Who did what")) for action in codes(row[0])}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "tokenbooth").rglob("*.py"))
    made = {f"credit.{kind}" for kind in ("grant", "adjustment")} | {
        f"auto_top_up.{what}" for what in ("switched_on", "switched_off", "changed")
    }
    assert {action for action in named - made if f'"{action}"' not in source} == set()
    written = set(re.findall(r'(?:action=|action = |entry\([a-z]+, |record\()"([a-z_]+\.[a-z_]+)"', source))
    assert len(written) > 15
    assert written - named == set()


def _commands(group: typer.Typer, prefix: str) -> Iterator[tuple[str, set[str]]]:
    """Each command below a group with its long options, but for those that all have."""
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        alone = inner.typer_instance.registered_callback
        if alone is not None and alone.invoke_without_command is True:
            assert alone.callback is not None
            yield f"{prefix}{inner.name}", _options(alone.callback)
        yield from _commands(inner.typer_instance, f"{prefix}{inner.name} ")
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{prefix}{command.name or command.callback.__name__}", _options(command.callback)


def _options(callback: Callable[..., object]) -> set[str]:
    """The long options of a command, but for those that all have."""
    single = typer.Typer(add_completion=False)
    single.command()(callback)
    parameters = typer.main.get_command(single).params
    return {option for parameter in parameters for option in parameter.opts if option.startswith("--")} - EVERYWHERE


def _events() -> Iterator[tuple[str, str]]:
    """The name and level of each log line in the source; a name that is no literal would go unnoticed."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for call in _log_calls(path):
            assert isinstance(call.func, ast.Attribute)
            name = call.args[0]
            assert isinstance(name, ast.Constant), f"{path}:{call.lineno}: the event's name is no literal"
            yield str(name.value), call.func.attr


def _log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=logger), attr=level)) if (
                logger in LOGGERS and level in LEVELS
            ):
                yield node

"""Where the configuration's raw values come from: the file, the environment above it, secrets by name or file.

Pure but for reading the files that are named; the environment comes as an argument.
"""

import json
import secrets
import tomllib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

ENV_PREFIX: Final = "TOKENBOOTH_"
_LEVEL: Final = "__"
# By table and earlier name.
_RENAMED: Final = {("gateway", "rest_s"): "cooldown_s"}

Raw = dict[str, object]


class SettingsError(Exception):
    """The configuration cannot be used; the message names each key and what is wrong with it."""


def read_toml(path: Path) -> Raw:
    """The tables of the file.

    Raises:
        SettingsError: it is missing, not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; `tokenbooth init` writes one") from None
    except OSError as failure:
        raise SettingsError(f"{path}: {failure.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as mistake:
        raise SettingsError(f"{path}: {mistake}") from None


def overlay_environment(raw: Raw, environ: Mapping[str, str], sections: Collection[str]) -> None:
    """Put variables such as TOKENBOOTH_SERVER__PORT above the file's values.

    A name is a path of tables separated by two underscores; one without them is free for secrets, unless it is that of
    one of the `sections`. A value that begins like a JSON list or object is read as one; an object is merged.

    Raises:
        SettingsError: a path leads through something that is no table, or a value is malformed JSON.
    """
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX):
            continue
        *tables, key = name.removeprefix(ENV_PREFIX).lower().split(_LEVEL)
        if not tables and key not in sections:
            continue
        table: Raw = raw
        for part in tables:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"{name}: {part} is no table")
            table = inner
        value = _value(name, text)
        if not tables and not isinstance(value, dict):
            raise SettingsError(f"{name}: {key} is a table; name a key in it, as in {name}{_LEVEL}KEY, or give JSON")
        match tables:
            case []:
                use_current_names({key: value})
            case [section]:
                key = _RENAMED.get((section, key), key)
        _put(table, key, value)


def use_current_names(raw: Raw) -> None:
    """Give settings that were written under an earlier name the one that they have now.

    Raises:
        SettingsError: both names are there.
    """
    for (section, before), now in _RENAMED.items():
        table = raw.get(section)
        if isinstance(table, dict) and before in table:
            if now in table:
                raise SettingsError(f"{section}.{before}: this is {now} by its earlier name; keep one of them")
            table[now] = table.pop(before)


def resolve_secrets(raw: Raw, environ: Mapping[str, str], base_dir: Path) -> None:
    """Replace each `NAME_env` by the variable that it names, and `NAME_file` by what is in the file, in every table.

    Raises:
        SettingsError: a variable is not set, or a file cannot be read.
    """
    _resolve(raw, (), environ, base_dir)
    stripe = raw.get("stripe")
    if isinstance(stripe, dict) and (secret := stripe.pop("webhook_secret", None)) is not None:
        # During a rotation both secrets stand in one place, separated by a comma.
        stripe["webhook_secrets"] = [part.strip() for part in str(secret).split(",")]


def put_placeholder(raw: Raw, environ: Mapping[str, str], base_dir: Path) -> None:
    """Let a webhook secret that cannot be read yet stand in as a placeholder that verifies nothing of Stripe's."""
    stripe = raw.get("stripe")
    if not isinstance(stripe, dict):
        return
    tried = {name: value for name, value in stripe.items() if name.startswith("webhook_secret")}
    with suppress(SettingsError):
        _resolve(tried, ("stripe",), environ, base_dir)
    if not tried.get("webhook_secret") and not tried.get("webhook_secrets"):
        for name in ("webhook_secret", "webhook_secret_env", "webhook_secret_file"):
            stripe.pop(name, None)
        stripe["webhook_secrets"] = [secrets.token_hex(32)]


def _put(table: Raw, key: str, value: object) -> None:
    """Set a value; an object goes into the table that is there, name by name."""
    there = table.get(key)
    if not isinstance(value, dict) or not isinstance(there, dict):
        table[key] = value
        return
    for name, inner in value.items():
        _put(there, name, inner)


def _value(name: str, text: str) -> object:
    if not text.startswith(("[", "{")):
        return text
    try:
        value: object = json.loads(text)
    except ValueError:
        raise SettingsError(f"{name}: the value begins like JSON but is none") from None
    return value


def _resolve(table: Raw, path: tuple[str, ...], environ: Mapping[str, str], base_dir: Path) -> None:
    for name, inner in table.items():
        if isinstance(inner, dict):
            _resolve(inner, (*path, name), environ, base_dir)
    named = {name: value for name, value in table.items() if name.endswith(("_env", "_file")) and _is_value(value)}
    for reference, source in named.items():
        del table[reference]
        name, _, kind = reference.rpartition("_")
        if source is None or (kind == "file" and named.get(f"{name}_env") is not None):
            continue
        where = ".".join((*path, reference))
        table[name] = _variable(where, str(source), environ) if kind == "env" else _file(where, str(source), base_dir)


def _is_value(value: object) -> bool:
    return not isinstance(value, dict | list)


def _variable(where: str, name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise SettingsError(f"{where}: the environment variable {name} is not set")
    return environ[name]


def _file(where: str, name: str, base_dir: Path) -> str:
    try:
        return (base_dir / name).read_text(encoding="utf-8").strip()
    except OSError as failure:
        raise SettingsError(f"{where}: {name}: {failure.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: {name}: not a text file") from None

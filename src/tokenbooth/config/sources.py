"""Where the configuration's raw values come from: the file, the environment above it, secrets by name or file.

Pure but for reading the files that are named; the environment comes as an argument.
"""

import json
import secrets
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

ENV_PREFIX: Final = "TOKENBOOTH_"
_LEVEL: Final = "__"

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
        _put(table, key, value)


def resolve_secrets(raw: Raw, environ: Mapping[str, str], base_dir: Path) -> None:
    """Replace `secret_key_env`, `webhook_secret_env`, `api_key_env` and their `_file` twins by the secrets.

    Raises:
        SettingsError: a variable is not set, or a file cannot be read.
    """
    stripe = raw.get("stripe")
    if isinstance(stripe, dict):
        _resolve(stripe, "stripe", "secret_key", environ, base_dir)
        _resolve(stripe, "stripe", "webhook_secret", environ, base_dir)
        secret = stripe.pop("webhook_secret", None)
        if secret is not None:
            # During a rotation both secrets stand in one place, separated by a comma.
            stripe["webhook_secrets"] = [part.strip() for part in str(secret).split(",")]
    mail = raw.get("mail")
    if isinstance(mail, dict):
        _resolve(mail, "mail", "password", environ, base_dir)
    usdc = raw.get("usdc")
    if isinstance(usdc, dict):
        _resolve(usdc, "usdc", "rpc_url", environ, base_dir)
        _resolve(usdc, "usdc", "xpub", environ, base_dir)
    upstreams = raw.get("upstreams")
    if isinstance(upstreams, dict):
        for name, upstream in upstreams.items():
            if isinstance(upstream, dict):
                _resolve(upstream, f"upstreams.{name}", "api_key", environ, base_dir)


def put_placeholder(raw: Raw, environ: Mapping[str, str], base_dir: Path) -> None:
    """Let a webhook secret that cannot be read yet stand in as a placeholder that verifies nothing of Stripe's."""
    stripe = raw.get("stripe")
    if not isinstance(stripe, dict):
        return
    tried = dict(stripe)
    try:
        _resolve(tried, "stripe", "webhook_secret", environ, base_dir)
    except SettingsError:
        tried.pop("webhook_secret", None)
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


def _resolve(table: Raw, where: str, name: str, environ: Mapping[str, str], base_dir: Path) -> None:
    variable, file_name = table.pop(f"{name}_env", None), table.pop(f"{name}_file", None)
    if variable is not None:
        if str(variable) not in environ:
            raise SettingsError(f"{where}.{name}_env: the environment variable {variable} is not set")
        table[name] = environ[str(variable)]
    elif file_name is not None:
        try:
            table[name] = (base_dir / str(file_name)).read_text(encoding="utf-8").strip()
        except OSError as failure:
            raise SettingsError(f"{where}.{name}_file: {file_name}: {failure.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{where}.{name}_file: {file_name}: not a text file") from None

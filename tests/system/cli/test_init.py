"""`tokenbooth init`: the configuration that it writes."""

import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from tokenbooth.cli.failures import CommandFailed
from tokenbooth.cli.initialise import template, write_configuration
from tokenbooth.config.settings import Settings, load_settings
from tokenbooth_sandbox.chain.wallet import new_extended_public_key


def _sections(annotation: object) -> list[type[BaseModel]]:
    """The settings classes inside a type, such as `dict[str, PlanSettings]` or `StripeSettings | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, dict, list, Annotated):
        return [section for part in get_args(annotation) for section in _sections(part)]
    return []


def _names(section: type[BaseModel]) -> set[str]:
    names = {field.alias or name for name, field in section.model_fields.items()}
    for field in section.model_fields.values():
        for inner in _sections(field.annotation):
            names |= _names(inner)
    return names


def _with_comments_removed(text: str) -> str:
    """The template with every commented setting switched on; of secrets those that come from files."""
    lines = []
    for line in text.splitlines():
        setting = line.removeprefix("# ")
        name, is_assignment, _ = setting.partition(" = ")
        is_setting = setting.startswith("[") or (bool(is_assignment) and name.replace("_", "").isalpha())
        if not name.endswith("_env"):
            lines.append(setting if is_setting else line)
    return "\n".join(lines)


def test_every_setting_is_named() -> None:
    """No setting of the program is missing from the file, commented or not."""
    text = template().replace("webhook_secret_env", "webhook_secrets").replace("_env ", " ")
    words = set(text.replace("[", " ").replace("]", " ").replace(".", " ").split())
    assert sorted(_names(Settings) - words) == []


def test_the_file_is_a_valid_configuration(tmp_path: Path) -> None:
    """What is written starts as it is, with the defaults of the program."""
    path = tmp_path / "tokenbooth.toml"
    write_configuration(path, force=False)
    settings = load_settings(path)
    defaults = Settings.model_validate({})
    assert (settings.plans, settings.server) == (defaults.plans, defaults.server)
    assert (settings.gateway, settings.billing) == (defaults.gateway, defaults.billing)


def test_its_comments_are_valid_settings(tmp_path: Path) -> None:
    """Every commented line can be switched on."""
    path = tmp_path / "tokenbooth.toml"
    path.write_text(_with_comments_removed(template()), encoding="utf-8")
    (tmp_path / "stripe-key").write_text("a", encoding="utf-8")
    (tmp_path / "smtp-password").write_text("b", encoding="utf-8")
    (tmp_path / "stripe-webhook-secret").write_text("b, c", encoding="utf-8")
    (tmp_path / "deepseek-key").write_text("d", encoding="utf-8")
    (tmp_path / "usdc-xpub").write_text(new_extended_public_key(), encoding="utf-8")
    settings = load_settings(path)
    assert list(settings.models) == ["deepseek/deepseek-chat-v3-0324"]
    assert settings.stripe is not None
    assert len(settings.stripe.webhook_secrets) == 2
    assert settings.usdc is not None


def test_commented_defaults_are_the_defaults() -> None:
    """A commented value of a section without examples is what holds anyway."""
    text = _with_comments_removed(template())
    read = tomllib.loads(text)
    defaults = Settings.model_validate({})
    for section in ("gateway", "billing", "management", "retention"):
        assert getattr(Settings.model_validate({section: read[section]}), section) == getattr(defaults, section)


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    """A configuration is not overwritten unless that is said."""
    path = tmp_path / "tokenbooth.toml"
    path.write_text("# mine\n", encoding="utf-8")
    with pytest.raises(CommandFailed, match="--force"):
        write_configuration(path, force=False)
    assert path.read_text(encoding="utf-8") == "# mine\n"
    write_configuration(path, force=True)
    assert path.read_text(encoding="utf-8") == template()


def test_the_file_is_private(tmp_path: Path) -> None:
    """Nobody else may read it, as secrets may be put into it."""
    path = tmp_path / "tokenbooth.toml"
    write_configuration(path, force=False)
    assert path.stat().st_mode & 0o777 == 0o600

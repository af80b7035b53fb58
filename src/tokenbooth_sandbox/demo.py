"""The demo: everything on this machine, with a payment sandbox and a model of its own, and an account to try it with.

It must never run a sandbox beside a live Stripe key. What it keeps lies in one directory; started again on it, it goes
on with the same data and the same key.
"""

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from rich.console import Console

from tokenbooth.config.payments import UsdcSettings
from tokenbooth.config.settings import Settings, SettingsError, load_settings
from tokenbooth.domain.keys import digest
from tokenbooth.http.server import Listener, bind, port_of, run
from tokenbooth.kit.clock import Clock, SystemClock
from tokenbooth.kit.logs import configure_logging
from tokenbooth.kit.private_files import close_to_others, make_private_directory, write_private
from tokenbooth.runtime.application import CHAIN_SANDBOX_PATH, SANDBOX_PATH, Application
from tokenbooth.runtime.build import build_application, with_port
from tokenbooth.services.accounts import add_management_key, create_customer, hash_password
from tokenbooth.store.accounts.accounts import find_account_by_email, set_password
from tokenbooth.store.accounts.management_keys import find_management_key
from tokenbooth.store.engine import Store
from tokenbooth_sandbox.chain import ChainConfig, ChainSandbox
from tokenbooth_sandbox.chain.wallet import new_extended_public_key
from tokenbooth_sandbox.demo_texts import configuration, walk_through
from tokenbooth_sandbox.models import create_model_server
from tokenbooth_sandbox.stripe import SandboxConfig, StripeSandbox, create_sandbox

EMAIL: Final = "demo@tokenbooth.invalid"
UPSTREAM: Final = "demo"
CONFIGURATION_NAME: Final = "tokenbooth.toml"
ACCESS_NAME: Final = "demo.json"
_SANDBOX_STATE_NAME: Final = "stripe-sandbox.db"
_CHAIN_STATE_NAME: Final = "chain-sandbox.json"
# Beside those that begin with "tokenbooth.".
_OTHER_NAMES: Final = (ACCESS_NAME, _SANDBOX_STATE_NAME, _CHAIN_STATE_NAME)
_BLOCK_TIME_S: Final = 2.0
_FINAL_BLOCKS: Final = 30
_POLL_S: Final = 1.0
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Access:
    """What a visitor needs; `DIR/demo.json` holds the same."""

    base_url: str
    email: str
    management_key: str = field(repr=False)
    password: str = field(repr=False)


def run_demo(directory: Path, *, host: str | None, port: int | None) -> int:
    """Run the demo until SIGTERM; returns the exit code.

    Args:
        directory: where everything is kept; made when it is missing.
        host, port: where to listen; None for what the configuration says.

    Raises:
        SettingsError: the directory or its configuration cannot be used, or a live Stripe key is configured.
        ListenFailed, DataDirectoryLocked, AnotherProcess, SchemaMismatch, StoreUnavailable: it cannot start.
    """
    settings = _settings(_prepare(directory))
    listening = bind(settings.server.host if host is None else host, settings.server.port if port is None else port)
    server = settings.server.model_copy(update={"host": settings.server.host if host is None else host})
    settings = with_port(settings.model_copy(update={"server": server}), port_of(listening))
    configure_logging(settings.server.log_format)
    listeners = []
    if UPSTREAM in settings.upstreams:
        model_socket, model_key = bind(_LOOPBACK, 0), secrets.token_hex(16)
        settings = _with_model_server(settings, port_of(model_socket), model_key)
        listeners.append(Listener(create_model_server(model_key), model_socket))
    settings, sandbox = _with_sandbox(settings, directory)
    chain_sandbox = None
    if settings.usdc is not None and settings.usdc.rpc_url.get_secret_value().endswith(CHAIN_SANDBOX_PATH):
        chain_sandbox = _chain_sandbox(settings.usdc, directory)
        # A socket of its own, as the product asks the node before it listens itself.
        chain_socket = bind(_LOOPBACK, 0)
        settings = _with_node(settings, settings.usdc, port_of(chain_socket))
        listeners.append(Listener(chain_sandbox, chain_socket))
    application = build_application(settings, sandbox=sandbox, chain_sandbox=chain_sandbox)
    demo = _Demo(application, directory / ACCESS_NAME, SystemClock())
    return run(
        demo,
        [Listener(application, listening, settings.server.trusted_proxies, application.listener_config), *listeners],
        drain_s=settings.server.drain_s,
        ready=lambda: _announce(demo.access, directory),
    )


class _Demo:
    """The application with its account, which is made before the first connection is accepted."""

    def __init__(self, application: Application, access_file: Path, clock: Clock) -> None:
        self._application = application
        self._access_file = access_file
        self._clock = clock
        self.access: Access | None = None

    async def start(self) -> None:
        await self._application.start()
        self.access = await asyncio.to_thread(self._provide_access)

    async def stop(self, drain_s: float) -> None:
        await self._application.stop(drain_s)

    def _provide_access(self) -> Access:
        access = _access_to_account(
            self._application.store,
            _read_access(self._access_file),
            base_url=self._application.settings.server.base_url(),
            clock=self._clock,
        )
        _write_access(self._access_file, access)
        return access


def _prepare(directory: Path) -> Path:
    """Make the directory and its configuration, unless an earlier demo did; returns the configuration's path."""
    path = directory / CONFIGURATION_NAME
    try:
        make_private_directory(directory)
        for kept in (*directory.glob("tokenbooth.*"), *(directory / name for name in _OTHER_NAMES)):
            close_to_others(kept)
        if not path.exists():
            write_private(
                path,
                configuration(
                    f"sk_test_demo{secrets.token_hex(16)}",
                    f"whsec_demo{secrets.token_hex(16)}",
                    new_extended_public_key(),
                ),
            )
    except OSError as failure:
        raise SettingsError(f"--data-dir: {directory} cannot be used: {failure.strerror}") from None
    return path


def _settings(path: Path) -> Settings:
    settings = load_settings(path)
    if settings.stripe is not None and settings.stripe.is_live():
        raise SettingsError("stripe.secret_key: the demo does not run with a live Stripe key; use `tokenbooth serve`")
    return settings


def _with_model_server(settings: Settings, port: int, key: str) -> Settings:
    ours = settings.upstreams[UPSTREAM].model_copy(
        update={"base_url": f"http://{_LOOPBACK}:{port}/v1", "api_key": SecretStr(key)}
    )
    return settings.model_copy(update={"upstreams": {**settings.upstreams, UPSTREAM: ours}})


def _with_sandbox(settings: Settings, directory: Path) -> tuple[Settings, StripeSandbox | None]:
    """A sandbox where the configuration points to one; an operator may have put a test account of Stripe there."""
    stripe = settings.stripe
    if stripe is None or stripe.api_base is None or not stripe.api_base.endswith(SANDBOX_PATH):
        return settings, None
    local_url = settings.server.model_copy(update={"public_url": None}).base_url()
    sandbox = create_sandbox(
        SandboxConfig(
            api_key=stripe.secret_key.get_secret_value(),
            webhook_secret=stripe.webhook_secrets[0].get_secret_value(),
            webhook_url=f"{local_url}/api/webhooks/stripe",
            public_url=f"{settings.server.base_url()}{SANDBOX_PATH}",
            state_file=directory / _SANDBOX_STATE_NAME,
        )
    )
    ours = stripe.model_copy(update={"api_base": f"{local_url}{SANDBOX_PATH}"})
    return settings.model_copy(update={"stripe": ours}), sandbox


def _chain_sandbox(usdc: UsdcSettings, directory: Path) -> ChainSandbox:
    return ChainSandbox(
        ChainConfig(
            chain_id=usdc.chain_id,
            token=usdc.token_address(),
            block_time_s=_BLOCK_TIME_S,
            final_blocks=_FINAL_BLOCKS,
            settle_at_once=True,
            state_file=directory / _CHAIN_STATE_NAME,
        )
    )


def _with_node(settings: Settings, usdc: UsdcSettings, port: int) -> Settings:
    ours = usdc.model_copy(update={"rpc_url": SecretStr(f"http://{_LOOPBACK}:{port}/"), "poll_s": _POLL_S})
    return settings.model_copy(update={"usdc": ours})


def _access_to_account(store: Store, known: Access | None, *, base_url: str, clock: Clock) -> Access:
    """The access that is known, if its key still opens the account; else a new one to the same account."""
    account = store.read_now(find_account_by_email, EMAIL)
    if account is None:
        password = secrets.token_urlsafe(12)
        customer = create_customer(store, email=EMAIL, password=password, clock=clock)
        return Access(base_url, EMAIL, customer.management_key, password)
    if known is not None:
        key = store.read_now(find_management_key, digest(known.management_key))
        if key is not None and key.account_id == account.id:
            return Access(base_url, EMAIL, known.management_key, known.password)
    password = secrets.token_urlsafe(12)
    store.write_now(set_password, account.id, hash_password(password))
    return Access(base_url, EMAIL, add_management_key(store, account.id, clock=clock), password)


def _read_access(path: Path) -> Access | None:
    """What an earlier demo wrote; None when it is missing or was spoilt."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Access(
            base_url=str(kept["baseUrl"]),
            email=str(kept["email"]),
            management_key=str(kept["managementKey"]),
            password=str(kept["password"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_access(path: Path, access: Access) -> None:
    write_private(
        path,
        json.dumps(
            {
                "baseUrl": access.base_url,
                "managementKey": access.management_key,
                "email": access.email,
                "password": access.password,
            },
            indent=2,
        )
        + "\n",
    )


def _announce(access: Access | None, directory: Path) -> None:
    """Print the key and what to try; plain lines without a terminal, so that they can be piped and pasted."""
    assert access is not None
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print("Tokenbooth's demo is ready.", style="bold green")
    for name, value in (
        ("Address", access.base_url),
        ("Management key", access.management_key),
        ("Email", access.email),
        ("Password", access.password),
        ("Kept in", str(directory.resolve())),
    ):
        console.print(f"  {name + ':':<16}{value}")
    console.print("\nTry it: paste this into another terminal.\n", style="bold")
    console.print(walk_through(access.base_url, access.management_key))
    console.print("Ctrl-C stops it; started again it goes on with the same data and key.", style="dim")
    console.file.flush()

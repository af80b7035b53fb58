"""The configuration: every mistake names its key, the environment is above the file, secrets come from elsewhere."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenbooth.config.settings import Settings, SettingsError, load_settings
from tokenbooth.domain.money import NANO_PER_USD

UPSTREAM = '[upstreams.demo]\nbase_url = "http://127.0.0.1:1/v1"\n'
MODEL = '[models."a/b"]\nupstreams = [{ name = "demo" }]\ncontext_tokens = 1000\nmax_output_tokens = 100\n'
PRICED = MODEL + 'input_usd_per_million = "0.27"\noutput_usd_per_million = "1.10"\n'
PLAN = '[plans.basic]\nprice_usd = "20"\nrpm = 60\nbudget_usd = "0.14"\n'

Load = Callable[[str], Settings]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine that runs the tests."""
    for name in os.environ:
        if name.upper().startswith("TOKENBOOTH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text as a file."""

    def from_text(text: str) -> Settings:
        path = tmp_path / "tokenbooth.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path)

    return from_text


def test_defaults() -> None:
    """Without a file: the documented limits and the reference's two plans."""
    settings = load_settings(None)

    assert {slug: (p.price_nano, p.rpm, p.budget_nano, p.window) for slug, p in settings.plans.items()} == {
        "standard": (20 * NANO_PER_USD, 60, 140_000_000, "5h"),
        "pro": (60 * NANO_PER_USD, 200, 420_000_000, "5h"),
    }
    assert (settings.server.port, settings.server.max_body_bytes, settings.server.drain_s) == (8080, 20 * 2**20, 30)
    assert (settings.stripe, settings.usdc, settings.billing.min_top_up_nano) == (None, None, 10 * NANO_PER_USD)
    assert (settings.gateway.hold_share_percent, settings.gateway.stale_key_ttl_s) == (25, 300)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[servr]\nport = 1", "servr"),
        ("[server]\nprt = 1", "server.prt"),
        ('[server]\nport = "x"', "server.port"),
        ("[server]\nport = 70000", "server.port"),
        ("[server]\nmax_body_bytes = 5", "server.max_body_bytes"),
        ('server = "x"', "server"),
        ("[store]\nurl = 5", "store.url"),
        (f'[store]\nurl = "sqlite:///{"x" * 256}"', "store.url"),
        (f'[store]\nurl = "sqlite:///{"ü" * 128}"', "store.url"),
        (f'[store]\nurl = "postgresql://{"x" * 4_000}"', "store.url"),
        ('[store]\nurl = "sqlite:///a\\u0000b"', "store.url"),
        ('[store]\ndata_dir = "a\\u0000b"', "store.data_dir"),
        ('[store]\ndata_dir = ""', "store.data_dir"),
        ('[store]\ndata_dir = " "', "store.data_dir"),
        (f'[store]\ndata_dir = "{"x" * 256}"', "store.data_dir"),
        (f'[store]\ndata_dir = "{"x/" * 2_001}"', "store.data_dir"),
        ('[billing]\nrenewal_grace = "6x"', "billing.renewal_grace"),
        ("[billing]\nrenewal_grace = 6", "billing.renewal_grace"),
        ("[billing]\nmin_top_up_usd = -1", "billing.min_top_up_usd"),
        ("[billing]\nmin_top_up_usd = nan", "billing.min_top_up_usd"),
        ("[billing]\nmin_top_up_usd = inf", "billing.min_top_up_usd"),
        ("[billing]\nmin_top_up_usd = true", "billing.min_top_up_usd"),
        ("[billing]\nmin_top_up_usd = []", "billing.min_top_up_usd"),
        ("[billing]\nmin_top_up_usd = 1e400", "billing.min_top_up_usd"),
        ("[gateway]\nhold_share_percent = 0", "gateway.hold_share_percent"),
        ('[upstreams.a]\nbase_url = "http://x:99999/v1"', "upstreams.a.base_url"),
        ('[upstreams.a]\nbase_url = "http://x:0/v1"', "upstreams.a.base_url"),
        ('[upstreams.a]\nbase_url = "http://:80/v1"', "upstreams.a.base_url"),
        ('[upstreams.a]\nbase_url = "http://me:secret@x/v1"', "upstreams.a.base_url"),
        ('[upstreams.a]\nbase_url = "http://x/ü"', "upstreams.a.base_url"),
        ('[upstreams.a]\nbase_url = "http://x/v1?a=1"', "upstreams.a.base_url"),
        ('[upstreams.a]\nbase_url = "http://x/v1"\napi_key = "k\\n"', "upstreams.a.api_key"),
        ('[upstreams.a]\nbase_url = "http://x/v1"\napi_key = "k\\r\\nx: y"', "upstreams.a.api_key"),
        (PLAN.replace("rpm = 60", "rpm = 0"), "plans.basic.rpm"),
        (PLAN.replace('"0.14"', '"0"'), "plans.basic.budget_usd"),
        (PLAN.replace('"0.14"', '"0.0000000001"'), "plans.basic.budget_usd"),
        (PLAN.replace("rpm = 60\n", ""), "plans.basic.rpm"),
        (PLAN + 'window = "5x"', "plans.basic.window"),
        (PLAN + 'interval = "week"', "plans.basic.interval"),
        (PLAN.replace("basic", '"No Slug"'), "plans.No Slug"),
        ('[upstreams.demo]\nbase_url = "ftp://x"', "upstreams.demo.base_url"),
        ("[upstreams.demo]\n", "upstreams.demo.base_url"),
        ("upstreams = 3", "upstreams"),
        (UPSTREAM + PRICED + "free = true", "models.a/b"),
        (UPSTREAM + PRICED + "[models.'a/b'.long_context]\nabove_tokens = 1", "models.a/b.long_context"),
        (PRICED, 'models."a/b".upstreams names "demo"'),
        (UPSTREAM + PRICED.replace("context_tokens = 1000", "context_tokens = 0"), "models.a/b.context_tokens"),
        (UPSTREAM + PRICED.replace('[{ name = "demo" }]', "[]"), "models.a/b.upstreams"),
        (UPSTREAM + PRICED + "output_limit_field = 'x'", "models.a/b.output_limit_field"),
        ("[stripe]\n", "stripe.secret_key"),
        ('[stripe]\nsecret_key = "x"', "stripe.webhook_secrets"),
        ('[stripe]\nsecret_key = ""\nwebhook_secret = "w"', "secret_key is empty"),
        ('[stripe]\nsecret_key = "x"\nwebhook_secret = ""', "webhook_secret is empty"),
        ('[stripe]\nsecret_key = "x"\nwebhook_secret = "a,,b"', "webhook_secret is empty"),
        ('[stripe]\nsecret_key_env = "NO_SUCH_VARIABLE"', "stripe.secret_key_env"),
        ('[stripe]\nsecret_key_file = "no-such-file"', "stripe.secret_key_file"),
        (UPSTREAM + 'api_key_env = "NO_SUCH_VARIABLE"', "upstreams.demo.api_key_env"),
        ("not toml", "tokenbooth.toml"),
    ],
)
def test_every_mistake_names_its_key(load: Load, text: str, key: str) -> None:
    """The message says where to look."""
    with pytest.raises(SettingsError) as mistake:
        load(text)

    assert key in str(mistake.value)


def test_all_mistakes_are_told_at_once(load: Load) -> None:
    """One line for each."""
    with pytest.raises(SettingsError) as mistake:
        load('[server]\nport = "x"\n' + PLAN.replace("rpm = 60", "rpm = 0"))

    assert [line.split(":")[0] for line in str(mistake.value).splitlines()] == ["server.port", "plans.basic.rpm"]


def test_a_file_that_is_missing_or_unreadable(tmp_path: Path) -> None:
    """A clear message instead of a trace, for a missing file, a directory, and bytes that are no text."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing", tmp_path / "bytes", tmp_path):
        with pytest.raises(SettingsError) as mistake:
            load_settings(path)
        assert str(path) in str(mistake.value)


@pytest.mark.parametrize(
    ("text", "settings_of", "value"),
    [
        ('[billing]\nmin_top_up_usd = "5"', lambda s: s.billing.min_top_up_nano, 5 * NANO_PER_USD),
        ('[billing]\nrenewal_grace = "1h"', lambda s: s.billing.max_top_up_nano, 10_000 * NANO_PER_USD),
        ("[billing]\nmin_top_up_usd = 12.5\nmax_top_up_usd = 100", lambda s: s.billing.min_top_up_nano, 12_500_000_000),
        ("[server]\nport = 0", lambda s: s.server.host, "127.0.0.1"),
        ("[gateway]\nhold_wait_ms = 0", lambda s: s.gateway.hold_share_percent, 25),
        (PLAN, lambda s: list(s.plans), ["basic"]),
        (UPSTREAM + PRICED, lambda s: s.models["a/b"].input_nano_per_million, 270_000_000),
        (UPSTREAM + MODEL + "free = true", lambda s: s.models["a/b"].free, True),
    ],
)
def test_one_key_of_a_section_leaves_the_others_at_their_defaults(
    load: Load, text: str, settings_of: Callable[[Settings], object], value: object
) -> None:
    """Every key can be set alone."""
    assert settings_of(load(text)) == value


@pytest.mark.parametrize(
    ("name", "value", "settings_of", "expected"),
    [
        ("SERVER__PORT", "9000", lambda s: s.server.port, 9000),
        ("SERVER__TRUSTED_PROXIES", '["10.0.0.1"]', lambda s: s.server.trusted_proxies, ["10.0.0.1"]),
        ("SERVER__PUBLIC_URL", "https://api.example.com/", lambda s: s.server.base_url(), "https://api.example.com"),
        ("BILLING__RENEWAL_GRACE", "1h", lambda s: s.billing.renewal_grace_us, 3_600 * 1_000_000),
        ("BILLING__MIN_TOP_UP_USD", "5", lambda s: s.billing.min_top_up_nano, 5 * NANO_PER_USD),
        ("PLANS__BASIC__RPM", "5", lambda s: (s.plans["basic"].rpm, s.plans["basic"].budget_nano), (5, 140_000_000)),
        ("UPSTREAMS__DEMO__BASE_URL", "http://h/v1", lambda s: s.upstreams["demo"].base_url, "http://h/v1"),
        ("MODELS__A/B__MAX_OUTPUT_TOKENS", "7", lambda s: s.models["a/b"].max_output_tokens, 7),
        ("MODELS", '{"a/b": {"max_output_tokens": 7}}', lambda s: s.models["a/b"].context_tokens, 1000),
        ("GATEWAY__HOLD_WAIT_MS", "5", lambda s: s.gateway.hold_wait_ms, 5),
    ],
)
def test_the_environment_is_above_the_file(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    settings_of: Callable[[Settings], object],
    expected: object,
) -> None:
    """Any key, also inside tables of tables; what the file says beside it stays."""
    monkeypatch.setenv(f"TOKENBOOTH_{name}", value)

    assert settings_of(load("[server]\nport = 1\n" + PLAN + UPSTREAM + PRICED)) == expected


def test_a_default_plan_can_be_changed_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value of a plan that no file names; the other plan stays."""
    monkeypatch.setenv("TOKENBOOTH_PLANS__STANDARD__RPM", "5")
    plans = load_settings(None).plans

    assert {slug: plan.rpm for slug, plan in plans.items()} == {"standard": 5, "pro": 200}


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("SERVER__PORT", "x", "server.port"),
        ("SERVER__PRT", "1", "server.prt"),
        ("SERVR__PORT", "1", "servr"),
        ("SERVER__TRUSTED_PROXIES", "10.0.0.1", "trusted_proxies"),
        ("SERVER", "x", "server"),
    ],
)
def test_mistakes_in_the_environment_name_their_key(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str
) -> None:
    """A mistyped variable is not ignored: what the operator meant would not hold."""
    monkeypatch.setenv(f"TOKENBOOTH_{name}", value)
    with pytest.raises(SettingsError) as mistake:
        load_settings(None)

    assert key in str(mistake.value).lower()


def test_secrets_come_from_the_environment_or_a_file(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to the configuration, without the line's end; during a rotation both secrets of the webhook."""
    monkeypatch.setenv("MY_KEY", "fake-stripe-key")
    (tmp_path / "hook").write_text("first, second\n")
    (tmp_path / "upstream").write_text("fake-upstream-key\n")
    settings = load(
        '[stripe]\nsecret_key_env = "MY_KEY"\nwebhook_secret_file = "hook"\n' + UPSTREAM + 'api_key_file = "upstream"\n'
    )

    assert settings.stripe is not None
    assert settings.stripe.secret_key.get_secret_value() == "fake-stripe-key"
    assert [secret.get_secret_value() for secret in settings.stripe.webhook_secrets] == ["first", "second"]
    api_key = settings.upstreams["demo"].api_key
    assert api_key is not None
    assert api_key.get_secret_value() == "fake-upstream-key"
    assert "fake-" not in repr(settings)


def test_the_name_of_a_secret_can_be_overridden_too(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """`…_env` is a key of the file like any other, so the environment may set it."""
    monkeypatch.setenv("MY_KEY", "fake-upstream-key")
    monkeypatch.setenv("TOKENBOOTH_UPSTREAMS__DEMO__API_KEY_ENV", "MY_KEY")
    api_key = load(UPSTREAM).upstreams["demo"].api_key

    assert api_key is not None
    assert api_key.get_secret_value() == "fake-upstream-key"


def test_both_secrets_of_stripe_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file at all, under the names of the file."""
    monkeypatch.setenv("TOKENBOOTH_STRIPE__SECRET_KEY", "fake-key")
    monkeypatch.setenv("TOKENBOOTH_STRIPE__WEBHOOK_SECRET", "fake-secret")
    stripe = load_settings(None).stripe

    assert stripe is not None
    assert [secret.get_secret_value() for secret in stripe.webhook_secrets] == ["fake-secret"]


def test_a_secret_file_that_is_no_text(load: Load, tmp_path: Path) -> None:
    """The message names the key."""
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"upstreams\.demo\.api_key_file"):
        load(UPSTREAM + 'api_key_file = "key"')


def test_an_empty_key_of_an_upstream_is_a_mistake(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing was meant to hold a key."""
    monkeypatch.setenv("MY_KEY", "")
    with pytest.raises(SettingsError, match=r"upstreams\.demo\.api_key"):
        load(UPSTREAM + 'api_key_env = "MY_KEY"')


def test_no_secret_in_a_mistake(load: Load) -> None:
    """A message about a section with a secret does not quote it (P12)."""
    with pytest.raises(SettingsError) as mistake:
        load('[stripe]\nsecret_key = "fake-canary"\nwebhook_secrets = "fake-canary"\ntimeout_s = -1')

    assert "fake-canary" not in str(mistake.value)


@pytest.mark.parametrize(("key", "live"), [("sk_live_x", True), ("rk_live_x", True), ("sk_test_x", False)])
def test_live_keys_are_recognised(load: Load, key: str, live: bool) -> None:
    """No sandbox starts beside one."""
    stripe = load(f'[stripe]\nsecret_key = "{key}"\nwebhook_secret = "w"').stripe

    assert stripe is not None
    assert stripe.is_live() is live


@pytest.mark.parametrize(
    ("url", "stored", "data_dir"),
    [
        ("sqlite:///x.db", "sqlite:///{dir}/x.db", "{dir}"),
        ("sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db", "/var/lib"),
        ("postgresql://u@h/d", "postgresql://u@h/d", "{dir}"),
    ],
)
def test_paths_are_relative_to_the_file(load: Load, tmp_path: Path, url: str, stored: str, data_dir: str) -> None:
    """Wherever the process was started."""
    store = load(f'[store]\nurl = "{url}"').store

    assert store.url == stored.format(dir=tmp_path)
    assert store.data_dir == data_dir.format(dir=tmp_path)


@pytest.mark.parametrize("key", ["url", "data_dir"])
@pytest.mark.parametrize("very_long", ["sqlite:///" + "x" * 3_000, "a/" * 50_000, "postgresql://" + "x" * 50_000])
def test_a_very_long_place_is_not_repeated(load: Load, key: str, very_long: str) -> None:
    """The message fits on a screen."""
    with pytest.raises(SettingsError) as mistake:
        load(f'[store]\n{key} = "{very_long}"')

    assert f"store.{key}" in str(mistake.value)
    assert len(str(mistake.value)) < 200


def test_the_longest_names_are_taken(load: Load) -> None:
    """A file system takes 255 bytes."""
    name = "x" * 255

    assert load(f'[store]\ndata_dir = "{name}/{name}"').store.data_dir


def test_the_data_directory_is_relative_to_the_file(load: Load, tmp_path: Path) -> None:
    """The charge log may lie elsewhere."""
    assert load('[store]\ndata_dir = "log"').store.data_dir == str(tmp_path / "log")


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
    ],
)
def test_links_without_a_public_url(load: Load, host: str, base_url: str) -> None:
    """An address that a browser on this machine can open."""
    assert load(f'[server]\nhost = "{host}"').server.base_url() == base_url


@pytest.mark.parametrize("text", ["[gateway]\nrest_s = 7", "[gateway]\ncooldown_s = 7"])
def test_an_earlier_name_is_read(load: Load, text: str) -> None:
    """`rest_s` and `cooldown_s` are one setting."""
    assert load(text).gateway.cooldown_s == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENBOOTH_GATEWAY__REST_S", "9"),
        ("TOKENBOOTH_GATEWAY__COOLDOWN_S", "9"),
        ("TOKENBOOTH_GATEWAY", '{"rest_s": 9}'),
    ],
)
@pytest.mark.parametrize("text", ["[gateway]\nrest_s = 7", "[gateway]\ncooldown_s = 7"])
def test_the_environment_wins_under_either_name(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str
) -> None:
    """Whichever name the file uses."""
    monkeypatch.setenv(name, value)
    assert load(text).gateway.cooldown_s == 9


def test_an_earlier_name_beside_the_current_one_is_a_mistake(load: Load) -> None:
    """Nobody has to guess which one holds."""
    with pytest.raises(SettingsError, match=r"gateway\.rest_s: this is cooldown_s by its earlier name"):
        load("[gateway]\nrest_s = 7\ncooldown_s = 8")


def test_the_programs_names_are_not_the_files(load: Load) -> None:
    """A setting has the name that the documentation gives it, and no second one."""
    with pytest.raises(SettingsError, match=r"billing\.min_top_up_nano"):
        load("[billing]\nmin_top_up_nano = 5")


def test_every_setting_may_come_from_a_variable_or_a_file(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A URL with a password is as secret as a key; a variable goes before a file."""
    monkeypatch.setenv("DATABASE", "postgresql://u:p@h/d")
    (tmp_path / "sender").write_text("shop@example.com\n", encoding="utf-8")
    settings = load(
        '[store]\nurl_env = "DATABASE"\nurl_file = "missing"\n[mail]\nhost = "mail.example.com"\nsender_file = "sender"'
    )
    assert settings.store.url == "postgresql://u:p@h/d"
    assert settings.mail is not None
    assert settings.mail.sender == "shop@example.com"


@pytest.mark.parametrize(
    "sender", ["shop", "a@b.example, c@d.example", "Shop <a@b.example>\nBcc: x", "=?q?x?=@b.example"]
)
def test_mail_is_from_one_address(load: Load, sender: str) -> None:
    """Anything else stops the start, with the key's name."""
    with pytest.raises(SettingsError, match=r"mail\.sender: .*must be an email address"):
        load(f'[mail]\nhost = "mail.example.com"\nsender = """{sender}"""\n')

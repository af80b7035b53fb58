"""The catalog: plans, models and prices as they follow from the settings."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tokenbooth.config.catalog import Catalog, build_catalog
from tokenbooth.config.list_prices import list_price
from tokenbooth.config.settings import Settings, SettingsError, load_settings
from tokenbooth.domain.plans import Interval, Plan
from tokenbooth.domain.pricing import TokenRates

TODAY = date(2026, 11, 1)
FILE = """
[plans.standard]
price_usd = "20"
rpm = 60
budget_usd = "0.14"
window = "5h"

[plans.year-plan]
name = "By the year"
price_usd = 200
interval = "year"
rpm = 5
tpm = 1000
budget_usd = "1"
window = "7d"
markup_percent = 50

[upstreams.one]
base_url = "http://127.0.0.1:1/v1/"
api_key = "fake-upstream-key"
[upstreams.two]
base_url = "http://127.0.0.1:2"
bills_after_disconnect = true

[models."deepseek/deepseek-chat-v3-0324"]
upstreams = [{ name = "one", model = "deepseek-chat", weight = 3 }, { name = "two" }]
input_usd_per_million = "0.27"
cached_input_usd_per_million = "0.07"
output_usd_per_million = "1.10"
context_tokens = 65536
max_output_tokens = 8192

[models.dear]
upstreams = [{ name = "two" }]
input_usd_per_million = "1"
output_usd_per_million = "2"
cache_write_usd_per_million = "1.25"
reasoning_usd_per_million = "3"
per_request_usd = "0.001"
upstream_input_usd_per_million = "0.5"
upstream_output_usd_per_million = "1"
upstream_cached_input_usd_per_million = "0.1"
markup_percent = 10
context_tokens = 1000
max_output_tokens = 100
image_tokens_max = 7
reasoning = true
output_limit_field = "max_completion_tokens"
allowed_parameters = ["store"]

[models.free]
upstreams = [{ name = "two" }]
free = true
context_tokens = 1000
max_output_tokens = 100
"""


def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "tokenbooth.toml").write_text(FILE)
    return build_catalog(load_settings(tmp_path / "tokenbooth.toml"))


def test_plans(tmp_path: Path) -> None:
    """Amounts in nano-USD, windows in microseconds, a name for people."""
    assert dict(catalog(tmp_path).plans) == {
        "standard": Plan(
            slug="standard",
            name="Standard",
            price_nano=20_000_000_000,
            interval=Interval.MONTH,
            rpm=60,
            tpm=None,
            budget_nano=140_000_000,
            window="5h",
            window_us=18_000_000_000,
        ),
        "year-plan": Plan(
            slug="year-plan",
            name="By the year",
            price_nano=200_000_000_000,
            interval=Interval.YEAR,
            rpm=5,
            tpm=1000,
            budget_nano=1_000_000_000,
            window="7d",
            window_us=604_800_000_000,
            markup_basis_points=5_000,
        ),
    }


def test_prices_of_the_reference_model(tmp_path: Path) -> None:
    """What is not named follows from the input price; the operator pays the same by default."""
    model = catalog(tmp_path).models["deepseek/deepseek-chat-v3-0324"]

    assert model.price.rates == TokenRates(
        input=270_000_000, output=1_100_000_000, cached_input=70_000_000, cache_write=270_000_000, reasoning=None
    )
    assert model.upstream_price == model.price


def test_markup_and_upstream_prices(tmp_path: Path) -> None:
    """Customers pay the marked-up price, the operator the configured one."""
    model = catalog(tmp_path).models["dear"]

    assert model.price.rates == TokenRates(
        input=1_100_000_000,
        output=2_200_000_000,
        cached_input=1_100_000_000,
        cache_write=1_375_000_000,
        reasoning=3_300_000_000,
    )
    assert model.price.per_request_nano == 1_100_000
    assert (model.upstream_price.rates.input, model.upstream_price.rates.output) == (500_000_000, 1_000_000_000)
    assert model.upstream_price.rates.cached_input == 100_000_000
    assert (model.image_tokens_max, model.reasoning, model.output_limit_field) == (7, True, "max_completion_tokens")
    assert model.allowed_parameters == frozenset({"store"})


def test_a_plans_markup_is_on_top(tmp_path: Path) -> None:
    """Credit pays the model's price, a plan its own."""
    built = catalog(tmp_path)
    model = built.models["deepseek/deepseek-chat-v3-0324"]

    assert built.price_for(model, None) == built.price_for(model, built.plans["standard"]) == model.price
    assert built.price_for(model, built.plans["year-plan"]).rates.input == 405_000_000


def test_routes(tmp_path: Path) -> None:
    """Upstreams with their weight and the model's name there; no credential in a printed one."""
    built = catalog(tmp_path)
    routes = built.models["deepseek/deepseek-chat-v3-0324"].routes

    assert [(r.upstream.name, r.upstream.base_url, r.model, r.weight) for r in routes] == [
        ("one", "http://127.0.0.1:1/v1", "deepseek-chat", 3),
        ("two", "http://127.0.0.1:2", "deepseek/deepseek-chat-v3-0324", 1),
    ]
    assert [(r.upstream.api_key, r.upstream.bills_after_disconnect) for r in routes] == [
        ("fake-upstream-key", False),
        (None, True),
    ]
    assert "fake-" not in repr(built)


def test_free_models(tmp_path: Path) -> None:
    """Nothing costs anything."""
    assert catalog(tmp_path).models["free"].price.is_free()


LISTED = """
[upstreams.openai]
base_url = "https://api.openai.com/v1"
[models.cheap]
upstreams = [{ name = "openai", model = "gpt-4o" }]
context_tokens = 128000
max_output_tokens = 16384
"""


def load_text(tmp_path: Path, text: str) -> Settings:
    """The settings of a file with this text."""
    path = tmp_path / "tokenbooth.toml"
    path.write_text(text)
    return load_settings(path)


def test_a_model_without_a_price_takes_the_public_list_price(tmp_path: Path) -> None:
    """The package's price of the upstream's model is the default; what the file names is above it."""
    listed = build_catalog(load_text(tmp_path, LISTED), today=TODAY).models["cheap"].price
    own = load_text(tmp_path, LISTED + 'output_usd_per_million = "99"')

    assert listed == list_price("gpt-4o", "https://api.openai.com/v1", TODAY)
    assert (listed.rates.input, listed.rates.output) > (0, 0)
    assert build_catalog(own, today=TODAY).models["cheap"].price.rates == replace(listed.rates, output=99 * 10**9)


@pytest.mark.parametrize(("base_url", "today"), [("http://127.0.0.1:9", TODAY), ("https://api.openai.com/v1", None)])
def test_no_price_no_start(tmp_path: Path, base_url: str, today: date | None) -> None:
    """A model that neither the file nor the list prices is a mistake that names it."""
    settings = load_text(tmp_path, LISTED.replace("https://api.openai.com/v1", base_url))
    with pytest.raises(SettingsError, match=r'models\."cheap" has no price'):
        build_catalog(settings, today=today)


def test_long_context_has_prices_of_its_own(tmp_path: Path) -> None:
    """Prompts above the threshold are billed wholly at the other rates, cache reads at the input's by default."""
    text = (
        LISTED
        + 'input_usd_per_million = "1"\noutput_usd_per_million = "2"\n'
        + '[models.cheap.long_context]\nabove_tokens = 200\ninput_usd_per_million = "3"\noutput_usd_per_million = "4"'
    )
    price = build_catalog(load_text(tmp_path, text)).models["cheap"].price

    assert price.rates_for(200).input == 10**9
    assert price.rates_for(201) == TokenRates(
        input=3 * 10**9, output=4 * 10**9, cached_input=3 * 10**9, cache_write=3 * 10**9
    )

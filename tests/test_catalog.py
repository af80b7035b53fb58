"""The catalog: plans, models and prices as they follow from the settings."""

from pathlib import Path

from tokenbooth.catalog import Catalog, build_catalog
from tokenbooth.domain.plans import Interval, Plan
from tokenbooth.domain.pricing import TokenRates
from tokenbooth.settings import load_settings

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

"""A model as the catalog would hold it, for tests of the gateway's pure parts. Only tests import this."""

from dataclasses import replace

from tokenbooth.config.catalog import Model, Route, Upstream
from tokenbooth.config.upstream_table import UpstreamKind
from tokenbooth.domain.pricing import Price, TokenRates

DEMO_PRICE = Price(
    TokenRates(input=270_000_000, output=1_100_000_000, cached_input=70_000_000, cache_write=270_000_000)
)
_UPSTREAM = Upstream(name="demo", base_url="http://127.0.0.1:1/v1", api_key=None, bills_after_disconnect=False)
SAMPLE_ROUTE = Route(_UPSTREAM, "upstream-name", 1)
_MODEL = Model(
    name="deepseek/deepseek-chat-v3-0324",
    price=DEMO_PRICE,
    upstream_price=DEMO_PRICE,
    routes=(Route(_UPSTREAM, "deepseek-chat", 1),),
    context_tokens=65_536,
    max_output_tokens=8_192,
    image_tokens_max=2_000,
    reasoning=False,
    output_limit_field=None,
    allowed_parameters=frozenset(),
)


def sample_model(*allowed: str, reasoning: bool = False, output_limit_field: str | None = None) -> Model:
    """The reference's model, with some parameters allowed."""
    return replace(
        _MODEL, allowed_parameters=frozenset(allowed), reasoning=reasoning, output_limit_field=output_limit_field
    )


def with_kind(kind: UpstreamKind, *formats: str, beside: Model | None = None) -> Model:
    """The model at an upstream of a kind, behind those that `beside` has already."""
    upstream = replace(_UPSTREAM, name=f"of-{kind.name}", kind=kind, formats=frozenset(formats))
    before = () if beside is None else beside.routes
    return replace(_MODEL, routes=(*before, Route(upstream, "upstream-name", 1)))

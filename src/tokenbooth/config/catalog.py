"""The catalog: plans, models, prices and upstreams as one immutable snapshot, made from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Final

from tokenbooth.config.list_prices import list_price
from tokenbooth.config.settings import LongContextSettings, ModelSettings, PlanSettings, Settings, UpstreamSettings
from tokenbooth.config.sources import SettingsError
from tokenbooth.config.upstream_kinds import KINDS, kept_back_by, kind_of_host
from tokenbooth.config.upstream_table import GENERIC, KeptBack, UpstreamKind
from tokenbooth.config.values import WireFormat as WireFormat
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.pricing import Price, TokenRates, with_markup
from tokenbooth.domain.windows import parse_duration

_FREE: Final = Price(TokenRates(input=0, output=0, cached_input=0, cache_write=0))

OPENAI_FORMATS: Final = frozenset(("openai.chat", "openai.completions", "openai.embeddings", "openai.responses"))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that runs models.

    Attributes:
        name: its name in the configuration.
        base_url: without a slash at its end; paths such as "/chat/completions" are appended.
        api_key: our credential there; None for none.
        bills_after_disconnect: whether it goes on (and bills) when we hang up.
        kind: what it does with fields, by the table of kinds.
        output_limit_field: the field in which it obeys the ceiling of a chat, where that is not its kind's.
        formats: the wire formats that it speaks, as the configuration names them.
        max_concurrent: the most calls that it is given at once; None for any number.
    """

    name: str
    base_url: str
    api_key: str | None
    bills_after_disconnect: bool
    formats: frozenset[str] = OPENAI_FORMATS
    max_concurrent: int | None = None
    kind: UpstreamKind = KINDS[GENERIC]
    output_limit_field: str | None = None

    def __repr__(self) -> str:
        return f"Upstream({self.name!r})"


@dataclass(frozen=True, slots=True)
class Route:
    """One way to run a model: an upstream, the model's name there, and its share of the traffic.

    `output_limit_field` is the field in which this model obeys a ceiling there, where it is an exception.
    """

    upstream: Upstream
    model: str
    weight: int
    output_limit_field: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model that customers may call.

    Attributes:
        name: its name for customers.
        price: what customers pay, without a plan's markup.
        upstream_price: what the operator pays; the same object when it is the same price.
        routes: at least one.
        context_tokens, max_output_tokens: the model's limits.
        image_tokens_max: the most tokens that one image counts for.
        reasoning: whether it thinks before it answers (a larger output floor).
        output_limit_field: the field in which its upstreams obey the ceiling of a chat; None: as each does.
        allowed_parameters: fields that are refused by default but priced or harmless for this model.
        kept_back: what the kinds of its upstreams must not get.
    """

    name: str
    price: Price
    upstream_price: Price
    routes: tuple[Route, ...]
    context_tokens: int
    max_output_tokens: int
    image_tokens_max: int
    reasoning: bool
    output_limit_field: str | None
    allowed_parameters: frozenset[str]
    kept_back: KeptBack = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Know once what every request asks for."""
        kinds = frozenset(route.upstream.kind.name for route in self.routes)
        object.__setattr__(self, "kept_back", kept_back_by(kinds))

    def ceiling_field(self, route: Route, wire: WireFormat) -> str:
        """The one field in which an output ceiling goes to an upstream of the model.

        A configured name is for chats, and for completions too unless it is the one that only chats have.
        """
        kind = route.upstream.kind
        if wire == "anthropic.messages":
            return kind.messages
        if wire == "openai.responses":
            return kind.responses
        configured = route.output_limit_field or route.upstream.output_limit_field or self.output_limit_field
        if wire == "openai.chat":
            return configured or kind.chat
        return kind.completions if configured in (None, "max_completion_tokens") else configured


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that the operator offers."""

    plans: Mapping[str, Plan]
    models: Mapping[str, Model]

    @property
    def digest(self) -> str:
        """A hash of plans, models and prices, in hexadecimal: the same on every machine that sells the same."""
        sold = [repr(plan) for _, plan in sorted(self.plans.items())]
        sold += [
            repr((name, model.price, model.context_tokens, model.max_output_tokens))
            for name, model in sorted(self.models.items())
        ]
        return sha256("\n".join(sold).encode()).hexdigest()

    def price_for(self, model: Model, plan: Plan | None) -> Price:
        """The price of a model for a customer of this plan (None: prepaid credit)."""
        return model.price if plan is None else with_markup(model.price, plan.markup_basis_points)


def build_catalog(settings: Settings, *, today: date | None = None) -> Catalog:
    """The catalog of validated settings.

    Args:
        settings: the configuration.
        today: the day whose public list prices fill in what a model's configuration leaves out; None: nothing does.

    Raises:
        SettingsError: a model has no price.
    """
    upstreams = {name: _upstream(name, upstream) for name, upstream in settings.upstreams.items()}
    return Catalog(
        plans={slug: _plan(slug, plan) for slug, plan in settings.plans.items()},
        models={name: _model(name, model, upstreams, today) for name, model in settings.models.items()},
    )


def _upstream(name: str, settings: UpstreamSettings) -> Upstream:
    kind, _ = kind_of(settings)
    return Upstream(
        name=name,
        base_url=settings.base_url.rstrip("/"),
        api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
        bills_after_disconnect=(
            kind.bills_after_disconnect if settings.bills_after_disconnect is None else settings.bills_after_disconnect
        ),
        formats=frozenset(settings.formats),
        max_concurrent=settings.max_concurrent,
        kind=kind,
        output_limit_field=settings.output_limit_field,
    )


def kind_of(settings: UpstreamSettings) -> tuple[UpstreamKind, str]:
    """An upstream's kind, and from what it is known, in a few words."""
    if settings.kind is not None:
        return KINDS[settings.kind], "configured"
    by_host = kind_of_host(settings.base_url)
    if by_host is not None:
        return by_host, "by its host"
    if settings.formats == ["anthropic.messages"]:
        return KINDS["anthropic"], "by its format"
    return KINDS[GENERIC], "nothing tells more"


def kind_lines(settings: Settings) -> list[str]:
    """Each upstream with its kind, and from what that is known."""
    kinds = {name: kind_of(upstream) for name, upstream in settings.upstreams.items()}
    return [f"{name} is {kind.name} ({known})" for name, (kind, known) in kinds.items()]


def _plan(slug: str, settings: PlanSettings) -> Plan:
    return Plan(
        slug=slug,
        name=settings.name or slug.capitalize(),
        price_nano=settings.price_nano,
        interval=settings.interval,
        rpm=settings.rpm,
        tpm=settings.tpm,
        budget_nano=settings.budget_nano,
        window=settings.window,
        window_us=parse_duration(settings.window),
        markup_basis_points=_basis_points(settings.markup_percent),
    )


def _model(name: str, settings: ModelSettings, upstreams: Mapping[str, Upstream], today: date | None) -> Model:
    routes = tuple(
        Route(upstreams[u.name], u.model or name, u.weight, u.output_limit_field) for u in settings.upstreams
    )
    listed = _list_or_own_price(name, settings, routes, today)
    price = with_markup(listed, _basis_points(settings.markup_percent))
    upstream_price = _upstream_price(settings, listed)
    return Model(
        name=name,
        price=price,
        upstream_price=price if upstream_price == price else upstream_price,
        routes=routes,
        context_tokens=settings.context_tokens,
        max_output_tokens=settings.max_output_tokens,
        image_tokens_max=(
            max(route.upstream.kind.image_tokens_max for route in routes)
            if settings.image_tokens_max is None
            else settings.image_tokens_max
        ),
        reasoning=settings.reasoning,
        output_limit_field=settings.output_limit_field,
        allowed_parameters=frozenset(settings.allowed_parameters),
    )


def _list_or_own_price(name: str, settings: ModelSettings, routes: tuple[Route, ...], today: date | None) -> Price:
    """The configured price, each part of it above the list price of the first upstream that has one."""
    if settings.free:
        return _own_price(settings, _FREE)
    listed = None
    if today is not None and (settings.input_nano_per_million is None or settings.output_nano_per_million is None):
        prices = (list_price(route.model, route.upstream.base_url, today) for route in routes)
        listed = next((price for price in prices if price is not None), None)
    if listed is not None:
        return _own_price(settings, listed)
    if settings.input_nano_per_million is None or settings.output_nano_per_million is None:
        raise SettingsError(
            f'models."{name}" has no price: set input_usd_per_million and output_usd_per_million, or free = true; '
            "there is no public list price for this model at its upstreams either"
        )
    return _own_price(settings, _FREE)


def _own_price(settings: ModelSettings, listed: Price) -> Price:
    """The configuration on top of `listed`; a cache rate without a price of its own follows the input."""
    rates = listed.rates
    own_input = settings.input_nano_per_million is not None
    input_nano = _default(settings.input_nano_per_million, rates.input)
    long_context = settings.long_context
    return Price(
        rates=TokenRates(
            input=input_nano,
            output=_default(settings.output_nano_per_million, rates.output),
            cached_input=_default(
                settings.cached_input_nano_per_million, input_nano if own_input else rates.cached_input
            ),
            cache_write=_default(settings.cache_write_nano_per_million, input_nano if own_input else rates.cache_write),
            reasoning=settings.reasoning_nano_per_million,
        ),
        per_request_nano=settings.per_request_nano,
        long_context=_long_rates(long_context) if long_context is not None else _listed_long(listed, own_input),
        long_context_above_tokens=(
            listed.long_context_above_tokens if long_context is None else long_context.above_tokens
        ),
    )


def _listed_long(listed: Price, own_input: bool) -> TokenRates | None:
    # A price of one's own is the price of every length, unless the configuration says otherwise.
    return None if own_input else listed.long_context


def _long_rates(settings: LongContextSettings) -> TokenRates:
    input_nano = settings.input_nano_per_million
    return TokenRates(
        input=input_nano,
        output=settings.output_nano_per_million,
        cached_input=_default(settings.cached_input_nano_per_million, input_nano),
        cache_write=_default(settings.cache_write_nano_per_million, input_nano),
    )


def _upstream_price(settings: ModelSettings, price: Price) -> Price:
    """What the operator pays: as configured, else the price before the markup."""
    rates = price.rates
    input_nano = _default(settings.upstream_input_nano_per_million, rates.input)
    configured = settings.upstream_input_nano_per_million is not None
    return Price(
        rates=TokenRates(
            input=input_nano,
            output=_default(settings.upstream_output_nano_per_million, rates.output),
            cached_input=_default(settings.upstream_cached_input_nano_per_million, min(rates.cached_input, input_nano)),
            cache_write=rates.cache_write,
            reasoning=rates.reasoning,
        ),
        per_request_nano=price.per_request_nano,
        long_context=None if configured else price.long_context,
        long_context_above_tokens=price.long_context_above_tokens,
    )


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _basis_points(percent: float) -> int:
    return round(percent * 100)

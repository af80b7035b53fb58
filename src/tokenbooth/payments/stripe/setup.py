"""Calls that set up the account at Stripe: the webhook endpoint, and what customers may do in the portal."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tokenbooth.payments.stripe.connection import API_VERSION, StripeCalls, stripe_call
from tokenbooth.payments.stripe.events import ENDPOINT_EVENTS
from tokenbooth.payments.stripe.object_reader import ObjectReader

if TYPE_CHECKING:
    from stripe.params import WebhookEndpointCreateParams, WebhookEndpointUpdateParams

_MARK: Final = {"tokenbooth": "1"}
_WAITING: Final = {"decreasing_item_amount", "shortening_interval"}
"""Changes of plan in the portal that have to wait for the period's end."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint. `secret` is told only when it is made."""

    id: str
    url: str
    api_version: str | None
    events: frozenset[str]
    enabled: bool
    secret: str | None = None

    @property
    def missing_events(self) -> tuple[str, ...]:
        """What it should subscribe to and does not."""
        return () if "*" in self.events else tuple(name for name in ENDPOINT_EVENTS if name not in self.events)


class SetupCalls(StripeCalls):
    """Calls for the operator's commands."""

    @stripe_call
    async def list_endpoints(self) -> tuple[Endpoint, ...]:
        """The webhook endpoints of the account."""
        listing = await self._v1.webhook_endpoints.list_async({"limit": 100})
        return tuple([parse_endpoint(entry.to_dict()) async for entry in listing.auto_paging_iter()])

    @stripe_call
    async def create_endpoint(self, url: str) -> Endpoint:
        """A webhook endpoint for everything that we handle, at our API version; its secret is told this once."""
        # The SDK's types list every event by name; ours come from one table of texts.
        params = cast(
            "WebhookEndpointCreateParams",
            {
                "url": url,
                "enabled_events": list(ENDPOINT_EVENTS),
                "api_version": API_VERSION,
                "description": "Tokenbooth",
                "metadata": _MARK,
            },
        )
        return parse_endpoint((await self._v1.webhook_endpoints.create_async(params)).to_dict())

    @stripe_call
    async def subscribe_endpoint(self, endpoint_id: str) -> Endpoint:
        """Let an endpoint that is there get everything that we handle."""
        params = cast("WebhookEndpointUpdateParams", {"enabled_events": list(ENDPOINT_EVENTS), "disabled": False})
        return parse_endpoint((await self._v1.webhook_endpoints.update_async(endpoint_id, params)).to_dict())

    @stripe_call
    async def ensure_portal(self, return_url: str) -> tuple[str, bool]:
        """The id of our portal configuration, and whether it was made or brought up to date now. It lets customers
        change cards, see invoices and cancel at the period's end; plans are changed through us, so that we know of it.
        An operator who lets plans be changed there finds a cheaper one set to wait for the period's end."""
        known = await self._v1.billing_portal.configurations.list_async({"active": True, "limit": 100})
        ours = next((entry for entry in known.data if is_our_portal(entry.to_dict())), None)
        if ours is None:
            return await self._create_portal(return_url), True
        update = ObjectReader(ours.to_dict(), "configuration").child("features").child("subscription_update")
        conditions = update.child("schedule_at_period_end").plain_list("conditions")
        if {condition.text("type") for condition in conditions} >= _WAITING:
            return ours.id, False
        await self._v1.billing_portal.configurations.update_async(
            ours.id,
            {
                "features": {
                    "subscription_update": {
                        "enabled": update.flag("enabled"),
                        "schedule_at_period_end": {
                            "conditions": [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
                        },
                    }
                }
            },
        )
        return ours.id, True

    async def _create_portal(self, return_url: str) -> str:
        made = await self._v1.billing_portal.configurations.create_async(
            {
                "default_return_url": return_url,
                "features": {
                    "customer_update": {"enabled": False},
                    "invoice_history": {"enabled": True},
                    "payment_method_update": {"enabled": True},
                    "subscription_cancel": {"enabled": True, "mode": "at_period_end", "proration_behavior": "none"},
                    "subscription_update": {
                        "enabled": False,
                        "schedule_at_period_end": {
                            "conditions": [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
                        },
                    },
                },
                "metadata": _MARK,
            }
        )
        return made.id


def is_our_portal(configuration: object) -> bool:
    """Whether we made a portal configuration. Raises `UnexpectedShape`."""
    return "tokenbooth" in ObjectReader(configuration, "configuration").texts("metadata")


def parse_endpoint(value: object) -> Endpoint:
    """Read a webhook endpoint. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "webhook_endpoint")
    return Endpoint(
        id=fields.text("id"),
        url=fields.text("url"),
        api_version=fields.opt_text("api_version"),
        events=frozenset(fields.plain_texts("enabled_events")),
        enabled=fields.text("status") == "enabled",
        secret=fields.opt_text("secret") if fields.has("secret") else None,
    )

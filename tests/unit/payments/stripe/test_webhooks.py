"""The webhook signature: what is accepted and what is not."""

import hashlib
import hmac
import json

import pytest
from stripe import WebhookSignature

from tokenbooth.payments.stripe.webhooks import WebhookEvent, WebhookRejected, WebhookVerifier

NOW_S = 1_800_000_000
SECRET = "whsec_one"
BODY = json.dumps(
    {
        "id": "evt_1",
        "object": "event",
        "type": "invoice.paid",
        "created": NOW_S,
        "livemode": False,
        "data": {"object": {"id": "in_1", "object": "invoice"}},
    }
).encode()


def signed(body: bytes = BODY, secret: str = SECRET, at_s: int = NOW_S) -> str:
    """A header as the official SDK makes it."""
    header: str = WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=at_s)
    return header


def test_event_is_read_from_a_signed_body() -> None:
    """Scenario 6: a good signature gives the event's few facts."""
    event = WebhookVerifier((SECRET,)).verify(BODY, signed(), now_s=NOW_S)
    assert event == WebhookEvent("evt_1", "invoice.paid", False, NOW_S * 1_000_000, "invoice", "in_1")


def test_both_secrets_are_accepted_during_rotation() -> None:
    """Scenario 7: a body signed with the old or the new secret passes."""
    verifier = WebhookVerifier(("whsec_new", SECRET))
    seen = [verifier.verify(BODY, signed(secret=secret), now_s=NOW_S).event_id for secret in (SECRET, "whsec_new")]
    assert seen == ["evt_1", "evt_1"]


def test_second_signature_in_the_header_counts() -> None:
    """Stripe signs with every active secret; any one that matches is enough."""
    header = signed(secret="whsec_other") + "," + signed().partition(",")[2]
    assert WebhookVerifier((SECRET,)).verify(BODY, header, now_s=NOW_S).event_id == "evt_1"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=abc,v1=00",
        f"t={NOW_S}",
        "v1=00",
        f"t={NOW_S},v0=00",
        f"t={NOW_S},v1=é",
        "t=²,v1=00",
        "t=9" * 50,
        signed(secret="whsec_other"),
        signed(at_s=NOW_S - 301),
        signed(body=BODY + b" "),
    ],
)
def test_bad_headers_are_refused(header: str | None) -> None:
    """Scenario 6: missing, malformed, foreign, old and mismatched signatures are refused with 400."""
    with pytest.raises(WebhookRejected) as refused:
        WebhookVerifier((SECRET,)).verify(BODY, header, now_s=NOW_S)
    assert (refused.value.status, refused.value.code) == (400, "invalid_signature")


def test_every_changed_byte_is_noticed() -> None:
    """Scenario 6: flipping any one bit of the body breaks the signature."""
    verifier, header = WebhookVerifier((SECRET,)), signed()
    for at in range(len(BODY)):
        changed = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
        with pytest.raises(WebhookRejected):
            verifier.verify(changed, header, now_s=NOW_S)


@pytest.mark.parametrize("secrets", [(), ("",), ("whsec_one", " ")])
def test_empty_secret_is_refused_at_construction(secrets: tuple[str, ...]) -> None:
    """Scenario 6: no verifier exists without a secret in each place."""
    with pytest.raises(ValueError, match="must not be empty"):
        WebhookVerifier(secrets)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"object": "charge"}', b"[" * 100_000])
def test_signed_bodies_that_are_no_events_are_refused(body: bytes) -> None:
    """A signature does not make an event of anything; deep nesting does no harm."""
    digest = hmac.new(SECRET.encode(), str(NOW_S).encode() + b"." + body, hashlib.sha256).hexdigest()
    with pytest.raises(WebhookRejected, match="not a Stripe event"):
        WebhookVerifier((SECRET,)).verify(body, f"t={NOW_S},v1={digest}", now_s=NOW_S)

"""The sandbox's HTML: the hosted checkout page and the customer portal. Pure.

Every value is escaped, nothing is loaded from anywhere, and a typed card is never shown again.
"""

from datetime import UTC, datetime
from html import escape

from tokenbooth_sandbox.stripe.billing.records import Invoice, Subscription
from tokenbooth_sandbox.stripe.records import Price, Session
from tokenbooth_sandbox.stripe.state import State

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1f36; --dim: #4f566b; --line: #c7cdd9; --paper: #fff;
  --back: #f4f5f9; --act: #4b3fd1; --warn: #a3122e; }
@media (prefers-color-scheme: dark) { :root { --ink: #eef0f6; --dim: #aab2c5; --line: #475069;
  --paper: #1b2030; --back: #11141f; --act: #8f86ff; --warn: #ff8fa3; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 27rem; margin: 6vh auto; padding: 2rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 12px; }
h1 { font-size: 1rem; font-weight: 500; margin: 0; color: var(--dim); }
.sum { font-size: 2.2rem; font-weight: 650; margin: .1rem 0 1.2rem; }
.sum small { font-size: 1rem; font-weight: 400; color: var(--dim); }
.note { font-size: .875rem; color: var(--dim); }
.error { color: var(--warn); border-left: 3px solid var(--warn); padding-left: .75rem; }
label { display: block; font-size: .875rem; font-weight: 550; margin: 0 0 .25rem; }
input { width: 100%; padding: .65rem .75rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--line); border-radius: 7px; margin-bottom: 1rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
button { width: 100%; padding: .75rem; font: inherit; font-weight: 600; border: 0; border-radius: 7px;
  background: var(--act); color: var(--paper); cursor: pointer; }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 3px solid var(--act);
  outline-offset: 2px; }
a { color: var(--act); }
"""
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£"}


def _document(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{content}</main></body></html>"
    )


def money(cents: int, currency: str) -> str:
    """An amount for people, `$20.00`."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{_SYMBOLS.get(currency, currency.upper() + ' ')}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def checkout_page(session: Session, state: State, error: str | None = None) -> str:
    """The page of a session; a closed one says so."""
    if session.status == "complete":
        return _closed(session, "Payment complete", "This checkout has been paid. Nothing more is to be done.")
    if session.status == "expired":
        return _closed(session, "Checkout expired", "This checkout has expired. Please start a new one.")
    title = ", ".join(item.description for item in session.line_items) or "Save a card"
    alert = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    label = "Save card" if session.mode == "setup" else "Subscribe" if session.mode == "subscription" else "Pay"
    return _document(
        f"{label}: {title}",
        f"<h1>{escape(title)}</h1>{_sum(session, state)}{alert}"
        '<form method="post" autocomplete="off"><input type="hidden" name="from" value="page">'
        '<label for="card">Card number</label>'
        '<input id="card" name="card" inputmode="numeric" required maxlength="23" '
        'placeholder="4242 4242 4242 4242" aria-describedby="hint">'
        '<div class="pair"><div><label for="expiry">Expiry (MM/YY)</label>'
        '<input id="expiry" name="expiry" required maxlength="7" placeholder="12/34"></div>'
        '<div><label for="cvc">CVC</label>'
        '<input id="cvc" name="cvc" inputmode="numeric" required maxlength="4" placeholder="123"></div></div>'
        f'<button type="submit">{label}</button></form>'
        '<p class="note" id="hint">This is a sandbox: no money moves. 4242 4242 4242 4242 pays, '
        "4000 0000 0000 0002 is declined, 4000 0000 0000 0341 fails at the next renewal.</p>"
        f"{_back(session)}",
    )


def _sum(session: Session, state: State) -> str:
    if session.amount_total is None or session.currency is None:
        return ""
    price = state.get(Price, session.line_items[0].price)
    every = f" <small>per {escape(price.interval)}</small>" if price.interval else ""
    return f'<p class="sum">{escape(money(session.amount_total, session.currency))}{every}</p>'


def _back(session: Session) -> str:
    if session.cancel_url is None:
        return ""
    return f'<p class="note"><a href="{escape(session.cancel_url)}" rel="noreferrer">Cancel and go back</a></p>'


def _closed(session: Session, title: str, text: str) -> str:
    target = session.success_url if session.status == "complete" else session.cancel_url
    link = f'<p><a href="{escape(filled(target, session))}" rel="noreferrer">Continue</a></p>' if target else ""
    return _document(title, f'<h1>Checkout</h1><p class="sum">{escape(title)}</p><p>{escape(text)}</p>{link}')


def filled(url: str, session: Session) -> str:
    """A return URL with Stripe's placeholder replaced."""
    return url.replace("{CHECKOUT_SESSION_ID}", session.id)


def invoice_page(invoice: Invoice) -> str:
    """An invoice with its lines."""
    lines = [(line.description, line.amount) for line in invoice.prorations]
    if invoice.billing_reason != "subscription_update":
        lines.append((invoice.description, invoice.ordinary))
    if invoice.is_taxed:
        lines.append(("Tax", invoice.tax))
    rows = "".join(f"<li>{escape(text)}: {escape(money(amount, invoice.currency))}</li>" for text, amount in lines)
    title = f"Invoice {invoice.number}"
    sum_shown = escape(money(invoice.amount_due, invoice.currency))
    return _document(
        title, f'<h1>{escape(title)}</h1><p class="sum">{sum_shown}</p><ul>{rows}</ul><p>{escape(invoice.status)}</p>'
    )


def message_page(title: str, text: str) -> str:
    """A page that only says something."""
    return _document(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>")


def portal_page(subscriptions: list[Subscription], state: State, return_url: str | None) -> str:
    """The customer's subscriptions, each with its button."""
    rows = "".join(_portal_row(subscription, state) for subscription in subscriptions)
    back = f'<p class="note"><a href="{escape(return_url)}" rel="noreferrer">Go back</a></p>' if return_url else ""
    return _document("Your subscriptions", f"<h1>Your subscriptions</h1>{rows or '<p>None.</p>'}{back}")


def _portal_row(subscription: Subscription, state: State) -> str:
    price = state.get(Price, subscription.price)
    until = datetime.fromtimestamp(subscription.period_end, UTC).date().isoformat()
    ends = subscription.cancel_at is not None
    cost = escape(money(price.unit_amount * subscription.quantity, price.currency))
    told = f"{'Ends' if ends else 'Renews'} on {until}" if subscription.status != "canceled" else "Ended"
    button = ""
    if subscription.status != "canceled":
        action, label = ("renew", "Don't cancel") if ends else ("cancel", "Cancel subscription")
        button = (
            f'<form method="post"><input type="hidden" name="subscription" value="{escape(subscription.id)}">'
            f'<button type="submit" name="action" value="{action}">{label}</button></form>'
        )
    every = escape(price.interval or "period")
    return f'<p class="sum">{cost}<small> per {every}</small></p><p>{told}</p>{button}'

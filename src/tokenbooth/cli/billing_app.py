"""The commands about payments: the inbox, refunds, disputes, subscriptions, the books, and Stripe's set-up.

Only declares them; each imports its work when it runs. `tokenbooth.cli` adds them to its own.
"""

from pathlib import Path
from typing import Annotated

import typer

from tokenbooth.cli.options import DEFAULT_CONFIG, AsJson, Config

Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]

inbox_app = typer.Typer(help="Events from outside, and what became of them.", no_args_is_help=True)
subscription_app = typer.Typer(help="Customers' subscriptions.", no_args_is_help=True)
stripe_app = typer.Typer(help="Stripe's set-up.", no_args_is_help=True)


def register(app: typer.Typer, account_app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(inbox_app, name="inbox")
    app.add_typer(subscription_app, name="subscription")
    app.add_typer(stripe_app, name="stripe")
    app.command()(refund)
    app.command()(reconcile)
    account_app.command("unpause")(account_unpause)


@inbox_app.command("list")
def inbox_list(
    status: Annotated[str, typer.Option(help="due, handled, parked, or open (due and parked).")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List events, the newest first."""
    from tokenbooth.cli.events import list_events

    list_events(config, status=status, limit=limit, as_json=as_json)


@inbox_app.command("show")
def inbox_show(
    row_id: Annotated[str, typer.Argument(metavar="ID", help="The row's id, or Stripe's id of the event.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show one event with everything that is known of it."""
    from tokenbooth.cli.events import show_event

    show_event(config, row_id, as_json=as_json)


@inbox_app.command("retry")
def inbox_retry(
    row_id: Annotated[str, typer.Argument(metavar="ID", help="The row's id, or Stripe's id of the event.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Have a parked event tried again; a running server does so within seconds."""
    from tokenbooth.cli.events import retry_event

    retry_event(config, row_id, as_json=as_json)


def refund(
    payment: Annotated[str, typer.Argument(help="Stripe's id of the payment or invoice, or our id of the top-up.")],
    reason: Reason,
    amount: Annotated[str | None, typer.Option("--amount", help="USD; all that is left without it.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End the subscription that the payment was for, now.")] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Give a payment back at Stripe, and take what it brought from the customer."""
    from tokenbooth.cli.payments import refund_payment

    refund_payment(config, payment, amount=amount, reason=reason, end=end, as_json=as_json)


@subscription_app.command("end")
def subscription_end(
    subscription: Annotated[str, typer.Argument(metavar="ID", help="Our id of the subscription.")],
    reason: Reason,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """End a subscription now; nothing is given back (see `tokenbooth refund`)."""
    from tokenbooth.cli.payments import end_subscription

    end_subscription(config, subscription, reason=reason, as_json=as_json)


def account_unpause(
    account: Annotated[str, typer.Option("--account", help="The account's id or email.")],
    reason: Reason,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Let the keys go on that a dispute paused."""
    from tokenbooth.cli.payments import unpause_account

    unpause_account(config, account, reason=reason, as_json=as_json)


def reconcile(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Hold the books against Stripe's and repair what is missing; the exit code is 1 when a difference stays."""
    from tokenbooth.cli.payments import reconcile_books

    raise typer.Exit(reconcile_books(config, as_json=as_json))


@stripe_app.command("setup")
def stripe_setup(
    secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the new endpoint's signing secret is written (mode 0600)."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make prices, the portal's configuration and the webhook endpoint at Stripe; run again, it changes nothing."""
    from tokenbooth.cli.stripe_setup import set_up

    set_up(config, secret_file=secret_file, as_json=as_json)

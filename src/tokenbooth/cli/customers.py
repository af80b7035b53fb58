"""The commands about customers: accounts, and credit given or taken by hand; also while the server runs."""

import sys
from pathlib import Path

from tokenbooth.cli.failures import CONFIGURATION, CommandFailed
from tokenbooth.cli.output import print_json, print_line
from tokenbooth.config.settings import load_settings
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import InvalidAmount, format_usd, parse_usd
from tokenbooth.kit.clock import SystemClock
from tokenbooth.runtime.database import ready_database
from tokenbooth.services.accounts import create_customer
from tokenbooth.store.accounts.credit import CreditChange, change_credit


def create_account(
    config: Path, *, email: str, password_file: Path | None, as_json: bool, is_admin: bool = False
) -> None:
    """Create an account with its first management key, which is shown this once."""
    password = None if password_file is None else _read_password(password_file)
    with ready_database(load_settings(config)) as store:
        customer = create_customer(store, email=email, password=password, clock=SystemClock(), is_admin=is_admin)
    if as_json:
        print_json({"accountId": customer.account_id, "managementKey": customer.management_key})
        return
    print_line(f"account         {customer.account_id}")
    print_line(f"management key  {customer.management_key}")
    print_line("The key is not shown again.")


def grant(config: Path, *, account: str, amount: str, reason: str, reference: str | None, as_json: bool) -> None:
    """Give a customer credit that nobody paid for."""
    amount_nano = _amount_nano(amount)
    if amount_nano <= 0:
        raise CommandFailed("--amount: must be above zero; `credit adjust` takes credit away", exit_code=CONFIGURATION)
    _change(config, TransferKind.GRANT, account, amount_nano, reason, reference, as_json=as_json)


def adjust(config: Path, *, account: str, amount: str, reason: str, reference: str | None, as_json: bool) -> None:
    """Correct a customer's credit by an amount, which may be negative."""
    amount_nano = _amount_nano(amount)
    if amount_nano == 0:
        raise CommandFailed("--amount: must not be zero", exit_code=CONFIGURATION)
    _change(config, TransferKind.ADJUSTMENT, account, amount_nano, reason, reference, as_json=as_json)


def _change(
    config: Path,
    kind: TransferKind,
    account: str,
    amount_nano: int,
    reason: str,
    reference: str | None,
    *,
    as_json: bool,
) -> None:
    if not reason.strip() or not reason.isprintable():
        raise CommandFailed("--reason: must be a line of text", exit_code=CONFIGURATION)
    if reference is not None and not (reference.strip() and reference.isprintable()):
        raise CommandFailed("--reference: must be a line of text", exit_code=CONFIGURATION)
    with ready_database(load_settings(config)) as store:
        done = store.write_now(
            change_credit,
            account=account,
            kind=kind,
            amount_nano=amount_nano,
            reason=reason,
            reference=reference,
            now_us=SystemClock().now_us(),
        )
    if as_json:
        print_json(
            {
                "accountId": done.account_id,
                "amount": format_usd(done.amount_nano),
                "balance": format_usd(done.balance_nano),
                "debt": format_usd(done.debt_nano),
                "reference": done.reference,
                "repeated": done.repeated,
            }
        )
    else:
        print_line(_sentence(done))


def _sentence(done: CreditChange) -> str:
    what = "done before, nothing changed" if done.repeated else f"{format_usd(done.amount_nano)} USD"
    debt = f", debt {format_usd(done.debt_nano)} USD" if done.debt_nano else ""
    return f"{done.account_id}: {what}; balance {format_usd(done.balance_nano)} USD{debt} ({done.reference})"


def _amount_nano(amount: str) -> int:
    try:
        return parse_usd(amount)
    except InvalidAmount as mistake:
        raise CommandFailed(f"--amount: {mistake}", exit_code=CONFIGURATION) from None


def _read_password(path: Path) -> str:
    """The first line of a file, or of standard input for "-"; arguments show in the list of processes."""
    try:
        text = sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise CommandFailed(f"--password-file: {path} cannot be read: {failure}", exit_code=CONFIGURATION) from None
    password = text.split("\n", 1)[0]
    if not password:
        raise CommandFailed("--password-file: the password is empty", exit_code=CONFIGURATION)
    return password

"""The command line. Commands import what they need when they run, so that `--help` answers at once.

This module must never do a command's work itself.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from tokenbooth.cli.billing_app import register
from tokenbooth.cli.failures import explain
from tokenbooth.cli.options import DEFAULT_CONFIG, AsJson, Config
from tokenbooth.cli.output import print_failure

Account = Annotated[str, typer.Option("--account", help="The account's id or email.")]
Amount = Annotated[str, typer.Option("--amount", help="USD, at most nine decimals.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the transfer.")]
Reference = Annotated[str | None, typer.Option("--reference", help="Your own reference; repeated, it changes nothing.")]

app = typer.Typer(
    name="tokenbooth",
    help="Sells access to language models: plans, prepaid credit and API keys.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
account_app = typer.Typer(help="Customers' accounts.", no_args_is_help=True)
credit_app = typer.Typer(help="Credit given or taken by hand.", no_args_is_help=True)
app.add_typer(account_app, name="account")
app.add_typer(credit_app, name="credit")
usdc_app = typer.Typer(help="Deposits of USDC.", no_args_is_help=True)
processes_app = typer.Typer(help="The servers that take model calls on the database.")
sandbox_app = typer.Typer(help="What drives the demo's sandboxes.", no_args_is_help=True)
app.add_typer(usdc_app, name="usdc")
app.add_typer(sandbox_app, name="sandbox")
charges_app = typer.Typer(help="Charges that were set aside: damaged on the disk, or refused.", no_args_is_help=True)
app.add_typer(charges_app, name="charges")
app.add_typer(processes_app, name="processes")
register(app, account_app)


def main() -> None:
    """Run the command line; an expected failure is one line on standard error."""
    try:
        app()
    except Exception as failure:
        explained = explain(failure)
        if explained is None:
            raise
        message, exit_code = explained
        print_failure(message)
        sys.exit(exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tokenbooth {version('tokenbooth')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and stop."),
    ] = False,
) -> None:
    """What comes before any command; its work is in the callbacks of the options."""


@app.command()
def serve(config: Config = DEFAULT_CONFIG) -> None:
    """Run the server until SIGTERM."""
    from tokenbooth.config.settings import load_settings
    from tokenbooth.runtime.build import serve as run

    raise typer.Exit(run(load_settings(config)))


@app.command()
def demo(
    host: Annotated[str | None, typer.Option(help="Where to listen.")] = None,
    port: Annotated[int | None, typer.Option(help="Where to listen; 8080 at first.", min=0, max=65535)] = None,
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Everything that is kept.")] = Path("tokenbooth-demo"),
) -> None:
    """Run everything on this machine: the server, a payment sandbox, a model, an account to try it with."""
    from tokenbooth_sandbox.demo import run_demo

    raise typer.Exit(run_demo(data_dir, host=host, port=port))


@app.command()
def init(
    config: Config = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented configuration."""
    from tokenbooth.cli.initialise import write_configuration
    from tokenbooth.cli.output import print_json, print_line

    write_configuration(config, force=force)
    if as_json:
        print_json({"config": str(config)})
    else:
        print_line(f"{config} is written. Look through it, then run `tokenbooth doctor`.")


@app.command()
def migrate(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Bring the database's schema up to date; `serve` does the same when it starts."""
    from tokenbooth.cli.database import run_migration

    run_migration(config, as_json=as_json)


@app.command()
def doctor(
    config: Config = DEFAULT_CONFIG,
    ask: Annotated[
        bool, typer.Option("--ask", help="Also ask the models for a token under each name of a ceiling; costs money.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration and everything that it names, and say what to do."""
    from tokenbooth.cli.doctor.checks import run_doctor

    raise typer.Exit(run_doctor(config, as_json=as_json, ask=ask))


@app.command()
def audit(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Compute every balance again from the ledger; the exit code is 1 on any difference."""
    from tokenbooth.cli.audit import run_audit

    raise typer.Exit(run_audit(config, as_json=as_json))


@account_app.command("create")
def account_create(
    email: Annotated[str, typer.Option("--email", help="The customer's email address.")],
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='A file with the dashboard\'s password; "-" for standard input.'),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Open the operator's pages of the dashboard to it.")] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Create an account and print its first management key."""
    from tokenbooth.cli.customers import create_account

    create_account(config, email=email, password_file=password_file, as_json=as_json, is_admin=admin)


@credit_app.command("grant")
def credit_grant(
    account: Account,
    amount: Amount,
    reason: Reason,
    reference: Reference = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Give a customer credit that nobody paid for."""
    from tokenbooth.cli.customers import grant

    grant(config, account=account, amount=amount, reason=reason, reference=reference, as_json=as_json)


@credit_app.command("adjust")
def credit_adjust(
    account: Account,
    amount: Amount,
    reason: Reason,
    reference: Reference = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Correct a customer's credit; a negative amount takes it away."""
    from tokenbooth.cli.customers import adjust

    adjust(config, account=account, amount=amount, reason=reason, reference=reference, as_json=as_json)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write the SQLite database and the charge log into one file, also while the server runs."""
    from tokenbooth.cli.database import write_backup

    write_backup(config, target, as_json=as_json)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` wrote.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place; the server must be stopped and its old database moved away."""
    from tokenbooth.cli.database import restore_backup

    restore_backup(config, source, as_json=as_json)


@charges_app.command("list")
def charges_list(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the files beside the charge log that wait for you."""
    from tokenbooth.cli.charges import list_files

    list_files(config, as_json=as_json)


@charges_app.command("show")
def charges_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of the list, or any file of a charge log.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show what can be read in a file, and what is lost."""
    from tokenbooth.cli.charges import show_file

    show_file(config, file, as_json=as_json)


@charges_app.command("replay")
def charges_replay(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="FILE|DIR", help="A file, or a directory of them; all of the list without it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Book what is not booked yet, each charge once; the server must be stopped."""
    from tokenbooth.cli.charges import replay_files

    raise typer.Exit(replay_files(config, path, yes=yes, as_json=as_json))


@processes_app.callback(invoke_without_command=True)
def processes(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to list.")] = 20,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the servers that take model calls, open ones first, then the newest; or end one."""
    from tokenbooth.cli.processes import list_processes

    if context.invoked_subcommand is None:
        list_processes(config, limit=limit, as_json=as_json)


@processes_app.command("close")
def processes_close(
    epoch: Annotated[str, typer.Argument(metavar="EPOCH", help="The run, as `tokenbooth processes` lists it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also when it lives: it admits nothing more then.")] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """End the row of a server whose machine is gone, so that another one can start at once."""
    from tokenbooth.cli.processes import close_process

    close_process(config, epoch, yes=yes, force=force, as_json=as_json)


@usdc_app.command("status")
def usdc_status(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """How far the chain is scanned, and what was found."""
    from tokenbooth.cli.usdc import show_status

    show_status(config, as_json=as_json)


@usdc_app.command("rescan")
def usdc_rescan(
    from_block: Annotated[int, typer.Option("--from-block", help="The first block to look at again.", min=1)],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Scan again from a block on; no deposit is credited twice by it."""
    from tokenbooth.cli.usdc import rescan

    rescan(config, from_block=from_block, as_json=as_json)


@usdc_app.command("sweep-list")
def usdc_sweep_list(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Every address that received something, with its derivation path, as CSV."""
    from tokenbooth.cli.usdc import sweep_list

    sweep_list(config, as_json=as_json)


@sandbox_app.command("send-usdc")
def sandbox_send_usdc(
    to: Annotated[str, typer.Option("--to", help="The address to pay.")],
    amount: Annotated[str, typer.Option("--amount", help="USDC, at most six decimals.")],
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="The demo's directory.")] = Path("tokenbooth-demo"),
    node: Annotated[str | None, typer.Option(metavar="URL", help="The sandbox's node, instead of the demo's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send made-up USDC on the demo's chain, and print the transaction's hash."""
    from tokenbooth.cli.sandbox import send_usdc

    send_usdc(to=to, amount=amount, data_dir=data_dir, node_url=node, as_json=as_json)

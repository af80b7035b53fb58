"""`tokenbooth audit`: computes every balance again and lists what differs."""

from pathlib import Path

from tokenbooth.cli.failures import FAILURE
from tokenbooth.cli.output import Json, print_json, print_line, print_table
from tokenbooth.config.settings import load_settings
from tokenbooth.kit.clock import SystemClock
from tokenbooth.runtime.database import ready_database
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.reports.audit import AuditReport, AuditRow, audit
from tokenbooth.store.reports.operator import record_audit


def run_audit(config: Path, *, as_json: bool) -> int:
    """Audit the configured database; returns the exit code."""
    with ready_database(load_settings(config)) as store:
        report = store.read_now(audit)
        store.write_now(record_audit, report, actor=OPERATOR, now_us=SystemClock().now_us())
    if as_json:
        print_json(
            {
                "clean": report.clean,
                "checks": report.checks,
                "ledgerAccounts": report.ledger_accounts,
                "transfers": report.transfers,
                "usageEvents": report.usage_events,
                "differences": [_as_json(row) for row in report.differences],
            }
        )
    else:
        _print_report(report)
    return 0 if report.clean else FAILURE


def _as_json(row: AuditRow) -> Json:
    """Figures as strings: a reader of JSON may keep numbers as floats, which lose nano-dollars."""
    return {
        "check": row.check,
        "subject": row.subject,
        "stored": str(row.stored),
        "computed": str(row.computed),
        "difference": str(row.difference),
    }


def _print_report(report: AuditReport) -> None:
    looked_at = (
        f"{report.ledger_accounts} ledger accounts, {report.transfers} transfers and {report.usage_events} usage events"
    )
    if report.clean:
        print_line(f"The audit is clean: {len(report.checks)} checks over {looked_at}.")
        return
    print_line(f"{len(report.differences)} differences over {looked_at}; money in nano-USD:")
    print_table(
        ("check", "subject", "stored", "computed", "difference"),
        (
            (row.check, row.subject, f"{row.stored:,}", f"{row.computed:,}", f"{row.difference:+,}")
            for row in report.differences
        ),
    )

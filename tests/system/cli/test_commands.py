"""The commands as an operator types them, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.support.command import answer, tokenbooth
from tokenbooth_sandbox.chain.wallet import new_extended_public_key


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a configuration."""
    assert tokenbooth("init", cwd=tmp_path).returncode == 0
    return tmp_path


def _sql(home: Path, statement: str) -> None:
    engine = create_engine(f"sqlite:///{home / 'tokenbooth.db'}")
    with engine.begin() as conn:
        conn.execute(text(statement))
    engine.dispose()


def test_help_and_version(tmp_path: Path) -> None:
    """Help lists the commands, the version is one line."""
    helped = tokenbooth("--help", cwd=tmp_path)
    assert helped.returncode == 0
    for command in ("serve", "init", "migrate", "doctor", "audit", "account", "credit", "demo"):
        assert command in helped.stdout
    assert tokenbooth("--version", cwd=tmp_path).stdout.startswith("tokenbooth ")


def test_help_imports_little(tmp_path: Path) -> None:
    """Help does not load what commands need to run."""
    heavy = {"sqlalchemy", "fastapi", "pydantic", "stripe", "uvicorn", "alembic"}
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from tokenbooth.cli import app\n"
        "CliRunner().invoke(app, ['--help'])\n"
        "print(*sorted(set(sys.modules) & set(sys.argv[1:])))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *heavy], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_without_a_configuration(tmp_path: Path) -> None:
    """A missing file is one line on standard error and exit code 2."""
    done = tokenbooth("audit", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tokenbooth: tokenbooth.toml: there is no such file; `tokenbooth init` writes one\n"


def test_a_mistake_in_the_configuration_names_its_key(home: Path) -> None:
    """A wrong value is said by its key, in the file and in the environment alike."""
    done = tokenbooth("migrate", cwd=home, env={"TOKENBOOTH_SERVER__PORT": "99999"})
    assert done.returncode == 2
    assert "server.port" in done.stderr
    assert "Traceback" not in done.stderr


WRONG_URLS = [
    ("nonsense", "it is no database URL"),
    ("", "it is no database URL"),
    ("postgresql://u:s3cret@127.0.0.1:port/x", "it is no database URL"),
    ("postgresql://u:s3cret@[::1/x", "it is no database URL"),
    ("mysql://u:s3cret@localhost/x", '"mysql" is not supported'),
    ("postgres://u:s3cret@localhost/x", '"postgres" is not supported'),
    ("postgresql+asyncpg://u:s3cret@127.0.0.1:1/x", 'the driver "asyncpg" is not supported'),
    ("sqlite+pysqlcipher:///x.db", 'the driver "pysqlcipher" is not supported'),
    ("postgresql://u:s3@cret@127.0.0.1:1/x", "write an @ in the password as %40"),
    ("postgresql://u:s3cret@127.0.0.1:1/x?color=red", 'PostgreSQL knows no option "color"'),
    ("sqlite://", "name a file"),
    ("sqlite://tokenbooth.db", "name a file"),
    ("sqlite:///:memory:", "name a file"),
    ("sqlite:///x.db?mode=ro", "SQLite takes no options"),
    ("sqlite:////proc/none/tokenbooth.db", "cannot be used"),
    ("sqlite:///.", "it is no file"),
    ("sqlite:///tokenbooth.toml", "it is no SQLite database"),
    ("sqlite:///tokenbooth.toml/tokenbooth.db", "cannot be used"),
]
AWAY = "postgresql://u:s3cret@127.0.0.1:1/none"
COMMANDS = [
    ("serve",),
    ("migrate",),
    ("audit",),
    ("account", "create", "--email", "a@example.com"),
    ("account", "unpause", "--account", "a@example.com", "--reason", "x"),
    ("credit", "grant", "--account", "a@example.com", "--amount", "1", "--reason", "x"),
    ("credit", "adjust", "--account", "a@example.com", "--amount", "1", "--reason", "x"),
    ("inbox", "list"),
    ("inbox", "show", "evt_1"),
    ("inbox", "retry", "evt_1"),
]


@pytest.mark.parametrize(("url", "said"), WRONG_URLS)
def test_a_database_that_cannot_be_used(home: Path, url: str, said: str) -> None:
    """A wrong database URL is a mistake of the configuration: one line that names its key, and no secret."""
    done = tokenbooth("migrate", cwd=home, env={"TOKENBOOTH_STORE__URL": url})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("tokenbooth: store.url: ")
    assert said in done.stderr
    assert "s3" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_so_in_one_line(home: Path, command: tuple[str, ...]) -> None:
    """A wrong URL, and a database that is away, with the reason."""
    wrong = tokenbooth(*command, cwd=home, env={"TOKENBOOTH_STORE__URL": "postgresql://u:s3cret@h:port/x"})
    away = tokenbooth(*command, cwd=home, env={"TOKENBOOTH_STORE__URL": AWAY, "TOKENBOOTH_SERVER__PORT": "0"})
    assert (wrong.returncode, wrong.stderr.count("\n"), away.returncode, away.stderr.count("\n")) == (2, 1, 1, 1)
    assert wrong.stderr.startswith("tokenbooth: store.url: it is no database URL")
    assert away.stderr.startswith("tokenbooth: store.url: the database does not answer: ")
    assert "refused" in away.stderr
    assert "s3cret" not in wrong.stderr + away.stderr


def test_the_doctor_and_the_demo_say_it_too(home: Path) -> None:
    """One finding among others, and a demo that does not start."""
    env = {"TOKENBOOTH_STORE__URL": "postgresql://u:s3cret@h:port/x"}
    doctor, demo = tokenbooth("doctor", cwd=home, env=env), tokenbooth("demo", "--port", "0", cwd=home, env=env)
    assert (doctor.returncode, "store.url: it is no database URL" in doctor.stdout, doctor.stderr) == (1, True, "")
    assert (demo.returncode, demo.stderr.count("\n")) == (2, 1)
    assert "s3cret" not in doctor.stdout + demo.stderr


def test_a_damaged_database_is_said_in_one_line(home: Path) -> None:
    """A file that begins as a database and goes on as something else."""
    answer("migrate", cwd=home)
    damaged = home / "tokenbooth.db"
    damaged.write_bytes(damaged.read_bytes()[:100] + b"x" * 8_000)
    done = tokenbooth("audit", cwd=home)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("tokenbooth: store.url: the database cannot be used: ")


def test_a_database_of_postgresql_that_may_not_be_changed(home: Path, postgres_url: str) -> None:
    """An account that may log in and nothing else."""
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as conn:
        conn.execute(text("DROP ROLE IF EXISTS reader"))
        conn.execute(text("CREATE ROLE reader LOGIN PASSWORD 's3cret'"))
        conn.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    engine.dispose()
    url = make_url(postgres_url).set(username="reader", password="s3cret").render_as_string(hide_password=False)
    done = tokenbooth("migrate", cwd=home, env={"TOKENBOOTH_STORE__URL": url})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "permission denied" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVER__METRICS_BIND", "127.0.0.1:99999", "server.metrics_bind: must be an address and a port"),
        ("SERVER__METRICS_BIND", "a..b:1", "cannot listen on a..b:1: this is no host"),
        ("SERVER__HOST", "a..b", "cannot listen on a..b:0: this is no host"),
        ("STORE__DATA_DIR", "tokenbooth.toml", "store.data_dir: "),
    ],
)
def test_other_places_that_cannot_be_used(home: Path, name: str, value: str, said: str) -> None:
    """What shows only when the server starts is one line as well."""
    env = {"TOKENBOOTH_SERVER__PORT": "0", f"TOKENBOOTH_{name}": value}
    done = tokenbooth("serve", cwd=home, env=env)
    assert (done.returncode in (1, 2), done.stderr.count("\n")) == (True, 1)
    assert done.stderr.startswith(f"tokenbooth: {said}")


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://h:99999/s3cret", "http://h /s3cret", "http://u:s3cret@h:p/", "http://"]
)
def test_a_node_that_is_no_address(home: Path, url: str) -> None:
    """Its URL holds a key as a rule, so it is not shown."""
    env = {"TOKENBOOTH_USDC": json.dumps({"rpc_url": url, "xpub": new_extended_public_key()})}
    for command in ("serve", "doctor"):
        done = tokenbooth(command, cwd=home, env=env)
        assert done.returncode == 2
        assert "rpc_url names no server" in done.stdout + done.stderr
        assert "s3cret" not in done.stdout + done.stderr


def test_migrate_twice(home: Path) -> None:
    """The first migration makes the schema, the second finds it."""
    first = answer("migrate", cwd=home)
    again = answer("migrate", cwd=home)
    assert (first["before"], first["changed"]) == (None, True)
    assert (again["before"], again["changed"]) == (first["after"], False)


def test_an_account_before_the_first_start(home: Path) -> None:
    """An account can be made on an empty database; its key is a management key."""
    made = answer("account", "create", "--email", "Ada@example.com", cwd=home)
    assert set(made) == {"accountId", "managementKey"}
    assert str(made["accountId"]).startswith("acct_")
    assert str(made["managementKey"]).startswith("mk_")


def test_an_email_belongs_to_one_account(home: Path) -> None:
    """The same email again, however written, is refused with exit code 1."""
    answer("account", "create", "--email", "ada@example.com", cwd=home)
    done = tokenbooth("account", "create", "--email", "ADA@example.com", cwd=home)
    assert (done.returncode, "exists already" in done.stderr) == (1, True)


def test_a_password_comes_from_a_file(home: Path) -> None:
    """A password is read from a file and kept as a hash."""
    (home / "password").write_text("correct horse battery\n", encoding="utf-8")
    answer("account", "create", "--email", "ada@example.com", "--password-file", "password", cwd=home)
    assert b"correct horse" not in (home / "tokenbooth.db").read_bytes()
    assert b"$argon2id$" in (home / "tokenbooth.db").read_bytes()
    (home / "password").write_text("\n", encoding="utf-8")
    done = tokenbooth("account", "create", "--email", "b@example.com", "--password-file", "password", cwd=home)
    assert (done.returncode, "password is empty" in done.stderr) == (2, True)


def test_a_grant_with_a_reference_counts_once(home: Path) -> None:
    """The same reference again changes nothing; for another amount it is refused."""
    account = str(answer("account", "create", "--email", "ada@example.com", cwd=home)["accountId"])
    grant = ("credit", "grant", "--account", account, "--reason", "welcome", "--reference", "r1")
    first = answer(*grant, "--amount", "25", cwd=home)
    again = answer(*grant, "--amount", "25.00", cwd=home)
    other = tokenbooth(*grant, "--amount", "26", cwd=home)
    assert (first["balance"], first["repeated"]) == ("25.00", False)
    assert (again["balance"], again["repeated"]) == ("25.00", True)
    assert (other.returncode, "was used" in other.stderr) == (1, True)
    assert answer("audit", cwd=home)["clean"] is True


def test_a_grant_without_a_reference_counts_each_time(home: Path) -> None:
    """Two grants without a reference are two; the account may be named by its email."""
    answer("account", "create", "--email", "ada@example.com", cwd=home)
    grant = ("credit", "grant", "--account", "ada@example.com", "--reason", "welcome", "--amount", "0.000000001")
    answer(*grant, cwd=home)
    assert answer(*grant, cwd=home)["balance"] == "0.000000002"


def test_an_adjustment_may_leave_a_debt(home: Path) -> None:
    """What is taken beyond the balance is owed, and paid by the next grant."""
    answer("account", "create", "--email", "ada@example.com", cwd=home)
    who = ("--account", "ada@example.com", "--reason", "mistake")
    answer("credit", "grant", *who, "--amount", "10", cwd=home)
    taken = answer("credit", "adjust", *who, "--amount", "-15", cwd=home)
    given = answer("credit", "grant", *who, "--amount", "7", cwd=home)
    assert (taken["balance"], taken["debt"]) == ("0.00", "5.00")
    assert (given["balance"], given["debt"]) == ("2.00", "0.00")
    assert answer("audit", cwd=home)["clean"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("grant", "--amount", "-1"), 2, "above zero"),
        (("grant", "--amount", "1e3"), 2, "decimal number"),
        (("grant", "--amount", "nan"), 2, "decimal number"),
        (("adjust", "--amount", "0"), 2, "not be zero"),
        (("grant", "--amount", "1", "--reference", " "), 2, "--reference"),
    ],
)
def test_bad_amounts_are_refused(home: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """A wrong argument is said before anything is done."""
    done = tokenbooth("credit", *arguments, "--account", "x", "--reason", "r", cwd=home)
    assert (done.returncode, said in done.stderr) == (code, True)
    assert not (home / "tokenbooth.db").exists()


def test_credit_for_nobody(home: Path) -> None:
    """An account that does not exist is exit code 1, also where its name would upset a terminal."""
    done = tokenbooth("credit", "grant", "--account", "acct_\x1b[31m", "--amount", "1", "--reason", "r", cwd=home)
    assert (done.returncode, "there is no account" in done.stderr) == (1, True)
    assert "\x1b" not in done.stderr


def test_sums_stay_exact(home: Path) -> None:
    """Grants that would leave the exact range are refused; the balance before them is exact."""
    answer("account", "create", "--email", "ada@example.com", cwd=home)
    grant = ("credit", "grant", "--account", "ada@example.com", "--reason", "r", "--amount", "999999999.999999999")
    balances = [answer(*grant, cwd=home)["balance"] for _ in range(4)]
    assert balances[-1] == "3999999999.999999996"
    done = tokenbooth(*grant, cwd=home)
    assert (done.returncode, "four billion" in done.stderr) == (1, True)


def test_what_the_operator_does_is_written_down(home: Path) -> None:
    """A grant leaves a line in the audit log, with its reason."""
    answer("account", "create", "--email", "ada@example.com", cwd=home)
    answer("credit", "grant", "--account", "ada@example.com", "--amount", "5", "--reason", "sorry", cwd=home)
    engine = create_engine(f"sqlite:///{home / 'tokenbooth.db'}")
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT actor, action, detail FROM audit_log ORDER BY id")).all()
    engine.dispose()
    assert (rows[-1].actor, rows[-1].action) == ("operator", "credit.grant")
    assert rows[-1].detail.startswith("5.00 USD: sorry (operator:grant:")


def test_the_audit_finds_a_changed_balance(home: Path) -> None:
    """A balance that was changed by hand is exit code 1 and is listed with both figures."""
    account = str(answer("account", "create", "--email", "ada@example.com", cwd=home)["accountId"])
    answer("credit", "grant", "--account", account, "--amount", "5", "--reason", "r", cwd=home)
    assert tokenbooth("audit", cwd=home).returncode == 0
    _sql(home, "UPDATE ledger_accounts SET balance_nano = balance_nano + 1 WHERE kind = 'credit'")
    shown = tokenbooth("audit", cwd=home)
    as_json = tokenbooth("audit", "--json", cwd=home)
    assert (shown.returncode, as_json.returncode) == (1, 1)
    assert f"credit:{account}" in shown.stdout
    assert json.loads(as_json.stdout)["differences"] == [
        {
            "check": "balance",
            "subject": f"credit:{account}",
            "stored": "5000000001",
            "computed": "5000000000",
            "difference": "1",
        }
    ]


@pytest.mark.parametrize("command", [("audit",), ("account", "create", "--email", "a@example.com"), ("migrate",)])
def test_a_newer_schema_is_left_alone(home: Path, command: tuple[str, ...]) -> None:
    """No command works on a database of a later release."""
    answer("migrate", cwd=home)
    _sql(home, "UPDATE alembic_version SET version_num = '9999'")
    done = tokenbooth(*command, cwd=home)
    assert (done.returncode, "newer than this program" in done.stderr) == (1, True)


def test_the_database_is_private(home: Path) -> None:
    """Nobody else may read the file that holds the hashes."""
    answer("migrate", cwd=home)
    assert (home / "tokenbooth.db").stat().st_mode & 0o777 == 0o600

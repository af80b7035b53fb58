"""Schemathesis over both descriptions that a running demo serves: no call made from them ends in a mistake of ours.

`OPENAPI_EXAMPLES=2000` makes a long run of it; then other examples are drawn each time.
"""

import json
import os
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.billing.shop import CARD
from tests.support.command import running

EXAMPLES: Final = int(os.environ.get("OPENAPI_EXAMPLES", "0"))
CHECKS: Final[list[CheckFunction]] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What is away or not configured says so with one of these; a 500 never does.
DOCUMENTED: Final = frozenset(("502", "503", "504"))
Operation = APIOperation[Any, Any, Any, Any]
MOST_TAKE_SOMETHING: Final = 6
Demo = tuple[str, dict[str, str], dict[str, str]]


def _ready(output: str, _log: str) -> str | None:
    return "ready" if "Ctrl-C stops it" in output else None


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo without a limit of calls, with its two credentials; the API key has credit."""
    home = tmp_path_factory.mktemp("demo")
    unlimited = {"TOKENBOOTH_MANAGEMENT__REQUESTS_PER_MINUTE": "1000000"}
    with running("demo", "--port", "0", cwd=home, find_url=_ready, env=unlimited):
        access = json.loads((home / "tokenbooth-demo" / "demo.json").read_text(encoding="utf-8"))
        management = {"authorization": f"Bearer {access['managementKey']}"}
        with httpx.Client(base_url=access["baseUrl"], headers=management, timeout=30) as http:
            page = http.post("/api/billing/topup", json={"amount": 1000, "method": "stripe"}).json()["sessionUrl"]
            assert http.post(page, data={"card": CARD}).status_code == 200
            key = http.post("/api/keys/credit", json={"name": "probe"}).json()["apiKey"]
        yield access["baseUrl"], management, {"authorization": f"Bearer {key}"}


@pytest.mark.timeout(3_600 if EXAMPLES else 120)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("document", ["/openapi.json", "/docs/data-plane.json"])
def test_no_call_ends_in_a_mistake_of_ours(demo: Demo, document: str, mode: GenerationMode) -> None:
    """With a valid credential, as described and not: each answer is one that its description names (P14)."""
    base_url, management, api = demo
    headers = management if document == "/openapi.json" else api
    schema = schemathesis.openapi.from_url(base_url + document)
    probed, found = 0, list[Exception]()
    for result in schema.get_all_operations():
        try:
            assert isinstance(result, Ok), result
            _probe(result.ok(), mode, headers)
        except Unsatisfiable:
            # A call that takes nothing cannot be made wrongly.
            continue
        except Exception as mistake:
            found.append(mistake)
        probed += 1
    assert probed >= MOST_TAKE_SOMETHING
    if found:
        raise ExceptionGroup("answers that are not as described", found)


def _probe(operation: Operation, mode: GenerationMode, headers: dict[str, str]) -> None:
    """Call one operation with many inputs."""

    @settings(
        max_examples=EXAMPLES or 12,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Case[Operation]) -> None:
        response = case.call(headers=headers, timeout=30)
        documented = DOCUMENTED.intersection(operation.definition.raw["responses"])
        # A 5xx that is documented still has to look as it is described there.
        checks = CHECKS if str(response.status_code) in documented else [not_a_server_error, *CHECKS]
        case.validate_response(response, checks=checks)

    call()

"""Asks models for one token under each name of an output ceiling, to see which their upstreams obey.

This spends the operator's money: some names are not known, and then a whole answer comes. Only `doctor --ask` does it.
"""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tokenbooth.cli.doctor.findings import Finding, Level
from tokenbooth.config.catalog import Catalog, Model, Route, WireFormat
from tokenbooth.config.upstream_fields import CEILING_FIELDS
from tokenbooth.store.ceilings import CeilingKey

TIMEOUT_S: Final = 60.0
_MAX_ANSWER_BYTES: Final = 1024 * 1024
# Its answer has sixty tokens or more, so that one which has none of our ceilings is told from one that has.
_QUESTION: Final = "Count from 1 to 30, in digits."
_MOST_FOR_ONE: Final = 17
_STOPPED: Final = re.compile(
    rb'"(?:finish_reason|stop_reason|reason)"\s*:\s*"(?:length|max_tokens|max_output_tokens)"', re.IGNORECASE
)
_PATHS: Final[Mapping[WireFormat, str]] = {
    "openai.chat": "/chat/completions",
    "openai.responses": "/responses",
    "anthropic.messages": "/messages",
}


class Outcome(Enum):
    """What became of a ceiling of one token."""

    OBEYED = "obeyed"
    IGNORED = "ignored"
    REFUSED = "refused"
    UNANSWERED = "no answer"


@dataclass(frozen=True, slots=True)
class Asked:
    """One model at one upstream in one format, and what became of each name.

    Attributes:
        key: whose ceiling it is, under the name that is configured.
        outcomes: by the name of the ceiling.
        finding: the same for people.
    """

    key: CeilingKey
    outcomes: Mapping[str, Outcome]
    finding: Finding


def ask_all(catalog: Catalog) -> Iterator[Asked]:
    """Ask each upstream for each of its models, in each format in which an answer has a ceiling."""
    questions = {
        (route.upstream.name, route.model, wire): (model, route)
        for model in catalog.models.values()
        for route in model.routes
        for wire in _PATHS
        if wire in route.upstream.formats
    }
    with ThreadPoolExecutor(8) as pool:
        yield from pool.map(lambda at: _ask(*questions[at], at[2]), questions)


def _ask(model: Model, route: Route, wire: WireFormat) -> Asked:
    configured = model.ceiling_field(route, wire)
    names = CEILING_FIELDS if wire == "openai.chat" else (configured,)
    outcomes = {name: _outcome(route, wire, name) for name in names}
    key = CeilingKey(route.upstream.name, route.upstream.base_url, route.model, wire, configured)
    return Asked(key, outcomes, _finding(key, outcomes))


def _finding(key: CeilingKey, outcomes: Mapping[str, Outcome]) -> Finding:
    check = f"ceiling of {key.model} at {key.upstream} ({key.wire_format})"
    by_outcome = {
        outcome: [name for name, found in outcomes.items() if found is outcome]
        for outcome in Outcome
        if outcome in outcomes.values()
    }
    found = "; ".join(f"{outcome.value}: {', '.join(names)}" for outcome, names in by_outcome.items())
    found = f"{key.field} is sent. {found}"
    obeyed = by_outcome.get(Outcome.OBEYED, [])
    match outcomes[key.field]:
        case Outcome.OBEYED:
            return Finding(check, Level.OK, found)
        case Outcome.UNANSWERED:
            return Finding(check, Level.WARNING, found, "see the upstream's own line")
        case _ if obeyed:
            return Finding(check, Level.FAILED, found, f'set output_limit_field = "{obeyed[0]}"')
        case _:
            advice = "nothing bounds its answers: sell it only if max_output_tokens is what it writes at most"
            return Finding(check, Level.FAILED, found, advice)


def _outcome(route: Route, wire: WireFormat, name: str) -> Outcome:
    status, body = _post(route, wire, _body(route.model, wire, name))
    if status in (400, 422):
        return Outcome.REFUSED
    if status != 200:
        return Outcome.UNANSWERED
    try:
        usage = json.loads(body)["usage"]
        tokens = int(usage.get("completion_tokens", usage.get("output_tokens")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Outcome.UNANSWERED
    return Outcome.OBEYED if tokens <= _MOST_FOR_ONE and _STOPPED.search(body) else Outcome.IGNORED


def _body(model: str, wire: WireFormat, name: str) -> bytes:
    # The format of responses takes no ceiling below 16.
    ceiling = 16 if wire == "openai.responses" else 1
    asked: dict[str, object] = {"model": model, name: ceiling}
    if wire == "openai.responses":
        asked |= {"input": _QUESTION, "store": False}
    else:
        asked |= {"messages": [{"role": "user", "content": _QUESTION}]}
    return json.dumps(asked).encode()


def _post(route: Route, wire: WireFormat, body: bytes) -> tuple[int | None, bytes]:
    headers = {"content-type": "application/json", "user-agent": "tokenbooth-doctor"}
    key = route.upstream.api_key
    if wire == "anthropic.messages":
        headers["anthropic-version"] = "2023-06-01"
        headers |= {} if key is None else {"x-api-key": key}
    elif key is not None:
        headers["authorization"] = f"Bearer {key}"
    # The settings accept http and https only.
    request = urllib.request.Request(route.upstream.base_url + _PATHS[wire], data=body, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, answer.read(_MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, b""
    except (OSError, http.client.HTTPException):
        return None, b""

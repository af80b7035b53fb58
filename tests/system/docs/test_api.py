"""docs/api.md names everything that a client of the data plane meets: routes, headers, error codes, limits."""

import re
from pathlib import Path
from typing import Final, get_args

import tokenbooth.gateway
from tests.support.gateway.gateway_rig import MoodyStore, open_moody_store, run_rig
from tokenbooth.config.settings import GatewaySettings, ServerSettings
from tokenbooth.config.upstream_fields import folded
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.config.upstream_table import GENERIC
from tokenbooth.config.values import WireFormat
from tokenbooth.gateway.formats.openai.completions import MAX_PROMPTS
from tokenbooth.gateway.formats.openai.embeddings import MAX_INPUTS
from tokenbooth.gateway.formats.request.parameters import MAX_CHOICES
from tokenbooth.gateway.formats.request.unpriced import REFUSED_FIELDS

DOCS: Final = Path(__file__).parents[3] / "docs"
API: Final = (DOCS / "api.md").read_text(encoding="utf-8")
FORMATS: Final = (DOCS / "formats.md").read_text(encoding="utf-8")
SOURCES: Final = [
    path.read_text(encoding="utf-8") for path in sorted(Path(tokenbooth.gateway.__file__).parent.rglob("*.py"))
]
_CODE: Final = re.compile(r'(?:invalid_request|Refusal)\(\s*(?:\d+,\s*)?(?:Category\.\w+,\s*)?"(\w+)"')
_HEADER: Final = re.compile(r'b"((?:x-|retry-|anthropic-ratelimit)[a-z-]*[a-z])"')


def _cells(heading: str) -> list[list[str]]:
    """What stands as code in the first cell of each table row below a heading."""
    section = API.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in section.splitlines() if line.startswith("| ")]


def test_every_route_is_named(tmp_path: Path) -> None:
    """The table of endpoints is the gateway's own list, and the two that show a single model."""
    store: MoodyStore = open_moody_store(tmp_path / "tokenbooth.db")
    try:
        with run_rig(store, tmp_path) as rig:
            served = {f"{method} {path}" for method, path in rig.gateway.routes}
    finally:
        store.close()
    named = {call for cell in _cells("Endpoints") for call in cell}
    assert named == served | {"GET /v1/models/{id}", "GET /anthropic/v1/models/{id}"}


def test_every_error_code_is_named() -> None:
    """A code that the gateway can answer with stands in the table of errors, and no other does."""
    written = {code for source in SOURCES for code in _CODE.findall(source)} - {"x"}
    # Made of the name of the field that is missing.
    written |= {"missing_prompt", "missing_input"}
    named = {code for cell in _cells("Errors") for code in cell}
    assert named - written == {"upstream_invalid_request"}
    assert written - named == set()


def test_every_header_is_named() -> None:
    """Whatever header the gateway writes."""
    written = {header for source in SOURCES for header in _HEADER.findall(source)}
    named = {name for cell in _cells("Headers") for name in cell}
    missing = {header for header in written if not any(name.startswith(header) for name in named)}
    assert missing - {"x-api-key"} == set()


def test_every_format_is_named() -> None:
    """Each that an upstream can declare."""
    assert [name for name in get_args(WireFormat) if f"| `{name}` |" not in FORMATS] == []


def test_the_limits_are_the_programs() -> None:
    """The numbers in the table are those that hold without a configuration."""
    limits = {
        f"{ServerSettings().max_body_bytes // 2**20} MiB",
        f"{GatewaySettings().max_json_depth} levels",
        f"{GatewaySettings().max_json_values:,}; with token ids {GatewaySettings().max_token_ids:,}",
        f"| names of all objects together | {GatewaySettings().max_json_names:,} |",
        f"| lists and objects | {GatewaySettings().max_json_containers:,} |",
        f"{GatewaySettings().max_unfunded_body_bytes // 1024} KiB, and {GatewaySettings().max_unfunded_calls} calls",
        f"| `n`, `best_of` | {MAX_CHOICES} |",
        f"{MAX_PROMPTS:,} entries",
        f"{MAX_INPUTS:,} entries",
    }
    assert [limit for limit in limits if limit not in API] == []


def test_the_refused_fields_that_are_named_are_refused() -> None:
    """The page promises nothing that is not so."""
    section = API.split("\n## What is refused, and why\n", 1)[1].split("```", 1)[0]
    listed = section.split("\n\n", 2)[1]
    named = set(re.findall(r"`([a-z_]+)`", listed)) - REFUSED_FIELDS - {"speed", "inference_geo"}
    generic = KINDS[GENERIC].kept_back
    kept_back = {name for name in named if folded(name) in generic.names or folded(name).startswith(generic.prefixes)}
    assert {name for name in named - kept_back if folded(name) not in generic.opened} == set()

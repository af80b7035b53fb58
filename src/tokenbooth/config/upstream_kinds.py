"""Finding the kind of an upstream, and what is kept back from it.

A `generic` upstream may be of any kind, so what is known of all kinds together is kept back from it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from tokenbooth.config.upstream_table import GENERIC, REST, SPECIFIC, KeptBack, UpstreamKind


def _of_all() -> UpstreamKind:
    rows = (*SPECIFIC, REST)
    names = tuple(sorted({name for row in rows for name in (*row.costs, *row.reaches)}))
    opened = {name for row in rows for name in row.opened} - set(names)
    return UpstreamKind(
        GENERIC,
        image_tokens_max=REST.image_tokens_max,
        reaches=names,
        prefixes=tuple(sorted({prefix for row in rows for prefix in row.prefixes})),
        opened=tuple(sorted(opened)),
    )


KINDS: Final[Mapping[str, UpstreamKind]] = {kind.name: kind for kind in (*SPECIFIC, _of_all())}
"""The table, by name."""


def kind_of_host(base_url: str) -> UpstreamKind | None:
    """The kind that a base URL's host belongs to; None for a host that is nobody's in the table."""
    host = (urlsplit(base_url).hostname or "").casefold()
    for kind in SPECIFIC:
        for known in kind.hosts:
            if host.endswith(known) if known.startswith(".") else host == known:
                return kind
    return None


@lru_cache(maxsize=256)
def kept_back_by(kinds: frozenset[str]) -> KeptBack:
    """The fields that are kept back where any of these kinds may answer."""
    rows = [KINDS[name].kept_back for name in sorted(kinds)]
    if len(rows) == 1:
        return rows[0]
    names = frozenset[str]().union(*(row.names for row in rows))
    return KeptBack(
        names,
        tuple(sorted({prefix for row in rows for prefix in row.prefixes})),
        frozenset[str]().union(*(row.opened for row in rows)) - names,
    )

"""What can be fuzzed: each target with its seeds and its mutator.

To add one, write a function of bytes that raises when something is wrong, and name it here.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fuzz.bodies import check_body
from fuzz.calls import check_call
from fuzz.choices import choices, mutate_choices
from fuzz.connection import check_connection
from fuzz.mutate import mutate_json, mutate_stream
from fuzz.samples import answers, bodies, streams
from fuzz.streams import check_answer, check_stream
from fuzz.upstream import check_upstream
from fuzz.wire import mutate_requests, mutate_responses, requests, responses


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to fuzz.

    Attributes:
        check: takes any bytes, and raises if something that must hold does not.
        seeds: bytes to begin with.
        mutate: makes other bytes of some.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]


TARGETS: Final = {
    "bodies": Target(check_body, bodies, mutate_json),
    "streams": Target(check_stream, streams, mutate_stream),
    "answers": Target(check_answer, answers, mutate_json),
    "calls": Target(check_call, choices, mutate_choices),
    "connection": Target(check_connection, requests, mutate_requests),
    "upstream": Target(check_upstream, responses, mutate_responses),
}

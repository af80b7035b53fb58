"""Asks an upstream for its models, to see whether it is there; never more than that, as models cost money."""

import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final

from tokenbooth.config.settings import UpstreamSettings

TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What came back.

    Attributes:
        url: what was asked.
        status: the answer's status; None when there was no answer.
        failure: why there was none.
        clock_skew_s: by how much our clock is ahead of the upstream's, in seconds; None when it did not say.
    """

    url: str
    status: int | None
    failure: str = ""
    clock_skew_s: float | None = None


def probe_upstream(upstream: UpstreamSettings) -> Probe:
    """Ask an upstream for its models, waiting three seconds at most for each step."""
    url = f"{upstream.base_url.rstrip('/')}/models"
    headers = {"accept": "application/json", "user-agent": "tokenbooth-doctor"}
    if upstream.api_key is not None:
        headers["authorization"] = f"Bearer {upstream.api_key.get_secret_value()}"
    # The settings accept http and https only.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return Probe(url, answer.status, clock_skew_s=_skew_s(answer.headers))
    except urllib.error.HTTPError as answer:
        with answer:
            return Probe(url, answer.code, clock_skew_s=_skew_s(answer.headers))
    except urllib.error.URLError as failure:
        return Probe(url, None, failure=str(failure.reason))
    except (OSError, http.client.HTTPException) as failure:
        return Probe(url, None, failure=str(failure) or type(failure).__name__)


def _skew_s(headers: Message) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(str(headers["date"])).timestamp()
    except ValueError:
        return None

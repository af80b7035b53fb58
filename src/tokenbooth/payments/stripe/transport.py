"""The HTTP client that Stripe's SDK sends its requests through: pyreqwest, as for nodes and proxied upstreams.

The SDK brings one over httpx, which cannot be told to ignore the environment's proxy and would be one more HTTP client
in the program.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from pathlib import Path

import stripe
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import NetworkError, PyreqwestError, RequestTimeoutError


class PyreqwestTransport(stripe.HTTPClient):
    """Sends single requests; the SDK's base class repeats them. Close it when done."""

    name = "pyreqwest"

    def __init__(self, *, timeout_s: float, ignores_proxy: bool) -> None:
        """`timeout_s`: for a connection to be made and, each time, until the next part of the answer, in seconds.
        `ignores_proxy`: whether the proxy is left out that the environment names."""
        super().__init__()
        timeout = timedelta(seconds=timeout_s)
        builder = (
            ClientBuilder()
            .connect_timeout(timeout)
            .read_timeout(timeout)
            .follow_redirects(False)
            .referer(False)
            # The certificates that the SDK trusts; the system may have none, as in a small container.
            .add_root_certificate_pem(Path(stripe.ca_bundle_path).read_bytes())
        )
        self._client = (builder.no_proxy() if ignores_proxy else builder).build()

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Body, status and headers of the answer to one request.

        Raises:
            stripe.APIConnectionError: there is none. Nothing of it names the key or the address.
        """
        request = self._client.request(method.upper(), url).headers(headers)
        if post_data is not None:
            request = request.body_text(post_data)
        try:
            answer = await request.build().send()
            return bytes(await answer.bytes()), answer.status, answer.headers
        except PyreqwestError as failure:
            # An answer that was cut off is not asked for again.
            passes = isinstance(failure, NetworkError | RequestTimeoutError)
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]
                type(failure).__name__, should_retry=passes
            ) from None

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Wait before a request is repeated."""
        return asyncio.sleep(secs)

    async def close_async(self) -> None:
        """Close every connection."""
        await self._client.close()

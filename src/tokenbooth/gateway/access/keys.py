"""From a bearer key to the key's state: checksum, digest, memory; the store only on a miss."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from tokenbooth.domain.keys import KeyKind, digest, is_well_formed, kind_of
from tokenbooth.gateway.access.cache import AccountCache, KeyState
from tokenbooth.gateway.access.open_requests import OpenRequests
from tokenbooth.gateway.errors import DELETED_KEY, invalid_key, unavailable
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.admission import LoadedKey, load_key

MAX_KEYS: Final = 100_000
MAX_UNKNOWN: Final = 100_000
_MAX_KEYS_BY_TEXT: Final = 20_000
_LOAD_TRIES: Final = 5

_MISSING: Final = "No API key. Send it as 'Authorization: Bearer sk_live_…'."


class KeyCache:
    """Known keys, and digests known to be nobody's; both bounded."""

    def __init__(self, store: Store, accounts: AccountCache, open_requests: OpenRequests) -> None:
        """Take what it asks.

        Args:
            store, accounts: where keys are.
            open_requests: where a request has its place while its key is looked up.
        """
        self._open_requests = open_requests
        self._store = store
        self._accounts = accounts
        self._unknown: OrderedDict[bytes, None] = OrderedDict()
        # Hashing and checking a key costs more than the rest of authentication; the text is only ever in memory.
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()
        self._loading: dict[bytes, asyncio.Task[KeyState | None]] = {}
        self.look_ups = 0
        """How often the store was asked for a key."""

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> KeyState:
        """The key that a request presents, loaded if need be.

        Raises:
            Refusal: no such key, the wrong kind of key, or the store is away.
        """
        presented = presented_key(headers)
        known_digest = self._digests.get(presented)
        known = None if known_digest is None else self._accounts.by_digest.get(known_digest)
        return await self._lookup(presented) if known is None else known

    async def _lookup(self, presented: bytes) -> KeyState:
        text = presented.decode("latin-1")
        if not is_well_formed(text, KeyKind.API):
            raise invalid_key(_wrong_kind(text))
        key_digest = digest(text)
        state = self._accounts.by_digest.get(key_digest)
        if state is None and key_digest not in self._unknown:
            state = await self._load_counted(key_digest)
        if state is None:
            raise invalid_key(DELETED_KEY)
        self._remember(presented, key_digest)
        return state

    async def _load_counted(self, key_digest: bytes) -> KeyState | None:
        self._open_requests.begin_look_up()
        try:
            return await self._load_once(key_digest)
        finally:
            self._open_requests.end_look_up()

    async def _load_once(self, key_digest: bytes) -> KeyState | None:
        """Load a key; calls that ask for the same one meanwhile share the look-up."""
        task = self._loading.get(key_digest)
        if task is None:
            task = asyncio.create_task(self._load(key_digest))
            self._loading[key_digest] = task
            task.add_done_callback(lambda _: self._loading.pop(key_digest, None))
        return await asyncio.shield(task)

    async def _load(self, key_digest: bytes) -> KeyState | None:
        try:
            for _ in range(_LOAD_TRIES):
                self.look_ups += 1
                times_reloaded = self._accounts.times_reloaded
                seq, loaded = await self._store.read(load_key, key_digest)
                # A look-up from before a change that is applied already would bring back what the change ended.
                if seq >= self._accounts.applied_seq and times_reloaded == self._accounts.times_reloaded:
                    return self._take(key_digest, loaded)
        except StoreUnavailable as failure:
            raise unavailable() from failure
        raise unavailable()

    def _take(self, key_digest: bytes, loaded: LoadedKey | None) -> KeyState | None:
        if loaded is None:
            self._remember_unknown(key_digest)
            return None
        return self._accounts.add(loaded)

    def _remember(self, presented: bytes, key_digest: bytes) -> None:
        self._digests[presented] = key_digest
        if len(self._digests) > _MAX_KEYS_BY_TEXT:
            self._digests.popitem(last=False)

    def _remember_unknown(self, key_digest: bytes) -> None:
        self._unknown[key_digest] = None
        if len(self._unknown) > MAX_UNKNOWN:
            self._unknown.popitem(last=False)

    def refuse(self, key_digest: bytes) -> None:
        """A key was deleted."""
        self._remember_unknown(key_digest)

    def forget_unknown(self) -> None:
        """A key was created: a digest that was nobody's may be somebody's now."""
        self._unknown.clear()


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The credential of a request; `Authorization` wins over `x-api-key`.

    Raises:
        Refusal: there is none, or the scheme is not Bearer.
    """
    api_key = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            credential = rest.strip()
            if not credential or scheme.lower() != b"bearer":
                raise invalid_key(_MISSING)
            return credential
        if name == b"x-api-key":
            api_key = value.strip()
    if not api_key:
        raise invalid_key(_MISSING)
    return api_key


def _wrong_kind(text: str) -> str:
    match kind_of(text):
        case KeyKind.MANAGEMENT:
            return "This is a management key; inference needs an API key (sk_live_…). POST /api/keys/credit makes one."
        case KeyKind.API:
            return "This API key is mistyped: its checksum does not match. Copy it again."
        case None:
            return "This is not an API key; API keys begin with sk_live_."

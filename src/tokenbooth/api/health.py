"""`/healthz` (the process runs) and `/readyz` (it can serve). Neither needs a credential."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy import Connection, literal, select
from starlette.responses import Response

from tokenbooth.api.openapi import object_answer
from tokenbooth.api.responses import respond, success
from tokenbooth.api.schemas import Payload
from tokenbooth.kit.errors import StoreUnavailable, Unavailable
from tokenbooth.services.context import ServiceContext

_AWAY: Final = "The database does not answer."
_TAKES_NOTHING: Final = (
    "The database takes no writes: its disk may be full, or it is read-only. Charges wait in the charge log."
)


class Status(Payload):
    """Nothing stands in the way."""

    status: str


class Readiness(Payload):
    """Calls are admitted.

    Attributes:
        status: `ready` or `degraded`.
        reason: what is wrong; only when it is degraded.
    """

    status: str
    reason: str | None = None


def router(context: ServiceContext) -> APIRouter:
    """Health and readiness."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/healthz", responses=object_answer(Status, public=True))
    async def healthz() -> Response:
        """Say that the process runs."""
        return respond(success(Status(status="ok")))

    @routes.get("/readyz", responses=object_answer(Readiness, 503, public=True))
    async def readyz() -> Response:
        """Say whether calls are admitted: `degraded`, with the reason, while the database fails."""
        if not context.live.admits():
            raise StoreUnavailable("This process admits no calls; its log says why.")
        if down := context.down():
            raise Unavailable("background_work_down", f"Being restarted: {', '.join(down)}.")
        try:
            await context.store.read(_ping)
        except StoreUnavailable:
            return respond(success(Readiness(status="degraded", reason=_AWAY)))
        if not context.live.stores():
            return respond(success(Readiness(status="degraded", reason=_TAKES_NOTHING)))
        return respond(success(Readiness(status="ready")))

    return routes


def _ping(conn: Connection) -> None:
    conn.execute(select(literal(1)))

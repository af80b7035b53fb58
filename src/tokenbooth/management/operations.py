"""`/healthz` (the process runs) and `/readyz` (it can serve). Neither needs a credential.

`app` mounts the router.
"""

from fastapi import APIRouter
from sqlalchemy import Connection, literal, select
from starlette.responses import Response

from tokenbooth.errors import StoreUnavailable, Unavailable
from tokenbooth.management.context import ManagementContext
from tokenbooth.management.describe import Payload, object_answer
from tokenbooth.management.envelope import respond, success


class Status(Payload):
    """Nothing stands in the way."""

    status: str


def router(context: ManagementContext) -> APIRouter:
    """The routes of this module."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/healthz", responses=object_answer(Status, public=True))
    async def healthz() -> Response:
        """Say that the process runs."""
        return respond(success({"status": "ok"}))

    @routes.get("/readyz", responses=object_answer(Status, 503, public=True))
    async def readyz() -> Response:
        """Say whether calls are admitted: `degraded` while that is so for known keys only, without the database."""
        if not context.live.admits():
            raise StoreUnavailable("This process admits no calls; its log says why.")
        if down := context.down():
            raise Unavailable("background_work_down", f"Being restarted: {', '.join(down)}.")
        try:
            await context.store.read(_ping)
        except StoreUnavailable:
            return respond(success({"status": "degraded"}))
        return respond(success({"status": "ready"}))

    return routes


def _ping(conn: Connection) -> None:
    conn.execute(select(literal(1)))

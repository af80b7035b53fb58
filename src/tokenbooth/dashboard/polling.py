"""A part of a page that the page asks for again while it is open, and gets only when it changed."""

import hashlib
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.dashboard.views import Visitor, Web


@dataclass(frozen=True, slots=True)
class LivePart:
    """One such part: its template, and the path that it comes from. Its text must not change with the clock alone."""

    template: str
    path: str

    def show(
        self, web: Web, request: Request, page: str, visitor: Visitor, *, status: int = 200, **values: object
    ) -> Response:
        """A page whose template includes `live_part.html`."""
        return web.page(request, page, visitor, status=status, **self._with_mark(web, request, visitor, values))

    def again(self, web: Web, request: Request, visitor: Visitor, **values: object) -> Response:
        """The part alone; nothing (204) when it is what the page shows already."""
        known = self._with_mark(web, request, visitor, values)
        if request.query_params.get("seen") == known["mark"]:
            return Response(status_code=204, headers={"cache-control": "no-store"})
        return web.page(request, "live_part.html", visitor, status=200, **known)

    def _with_mark(self, web: Web, request: Request, visitor: Visitor, values: dict[str, object]) -> dict[str, object]:
        text = web.render(request, self.template, visitor, **values)
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        return {**values, "live_template": self.template, "live_path": self.path, "mark": mark}

"""The requests that are open at once, and each account's share of them.

A request takes its place as soon as its account is known. Those whose key has to be looked up have places of their own
until then, a quarter as many: strangers who try keys must not take any of the others.
"""

from typing import Final

from tokenbooth.gateway.errors import too_many_look_ups, too_many_requests
from tokenbooth.kit.places import Caller, Place, Places

_LOOK_UPS_PART: Final = 4
_LEAST_LOOK_UPS: Final = 16


class OpenRequests:
    """The places of open requests.

    Attributes:
        places: the bound, with how often somebody was refused.
        look_ups: how many requests wait for their key to be looked up.
    """

    __slots__ = ("_most_look_ups", "look_ups", "places")

    def __init__(self, most: int) -> None:
        """`most` is how many requests may be open."""
        self.places = Places(most)
        self.look_ups = 0
        self._most_look_ups = max(most // _LOOK_UPS_PART, _LEAST_LOOK_UPS)

    async def wait(self, caller: Caller) -> Place:
        """Take a place, for which an account that has none waits a moment.

        Raises:
            Refusal: there is none in time.
        """
        await self.places.wait_for_room(caller)
        place = self.places.take(caller)
        if place is None:
            self.places.refused += 1
            shares = self.places.shares
            own = shares.held(caller.account, has_money=caller.has_money)
            raise too_many_requests(shares.used, shares.most, own)
        return place

    def begin_look_up(self) -> None:
        """A request waits for its key to be looked up; `end_look_up` must follow.

        Raises:
            Refusal: as many do as may.
        """
        if self.look_ups >= self._most_look_ups:
            self.places.refused += 1
            raise too_many_look_ups(self.look_ups)
        self.look_ups += 1

    def end_look_up(self) -> None:
        """Its key is known, or known to be nobody's."""
        self.look_ups -= 1

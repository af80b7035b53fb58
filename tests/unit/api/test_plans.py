"""Plans over HTTP."""

from tests.support.management import Plane


async def test_the_plans_are_shown_to_anyone(plane: Plane) -> None:
    """With exact prices, and no limit as null."""
    answer = await plane.client.get("/api/plans")
    assert answer.json() == {
        "success": True,
        "data": [
            {
                "slug": "standard",
                "name": "Standard",
                "priceUsd": "20.00",
                "interval": "month",
                "rateLimits": {"rpm": 60, "tpm": None},
                "budget": {"amountUsd": "0.14", "window": "5h"},
            },
            {
                "slug": "pro",
                "name": "Pro",
                "priceUsd": "60.00",
                "interval": "month",
                "rateLimits": {"rpm": 200, "tpm": None},
                "budget": {"amountUsd": "0.42", "window": "5h"},
            },
        ],
    }

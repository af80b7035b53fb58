"""What a browser calls itself, as people call it. Pure."""

from typing import Final

# In this order: most browsers claim to be those that follow, too.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_SHOWN: Final = 60


def browser_name(user_agent: str) -> str:
    """ "Firefox on Windows"; the beginning of what it says when that tells nothing."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if browser is None:
        return user_agent[:_SHOWN] or "Unknown browser"
    return browser if system is None else f"{browser} on {system}"

"""How pages write money, times and numbers. Pure; templates use these as filters."""

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

from tokenbooth.domain.money import NANO_PER_CENT, NANO_PER_USD, format_usd
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.kit.clock import iso_ms

_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_UNITS: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
_SHORT_ID: Final = 14
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
_AGENT_SHOWN: Final = 60


def usd(amount_nano: int) -> str:
    """An exact amount: "$0.000297"."""
    sign = "-" if amount_nano < 0 else ""
    whole, _, fraction = format_usd(abs(amount_nano)).partition(".")
    return f"{sign}${int(whole):,}.{fraction}"


def price(amount_nano: int) -> str:
    """An exact amount without cents that are zero: "$20"."""
    return usd(amount_nano).removesuffix(".00")


def plain_amount(amount_nano: int) -> str:
    """An amount as it stands in a field; nothing for none."""
    return price(amount_nano)[1:].replace(",", "") if amount_nano else ""


def about(amount_nano: int) -> str:
    """An amount cut to what a glance needs, never above the true one: cents from a dollar on, else four decimals, and
    where even these would be zero, all there are."""
    size_nano = abs(amount_nano)
    step_nano = NANO_PER_CENT if size_nano >= NANO_PER_USD else NANO_PER_CENT // 100
    cut_nano = size_nano // step_nano * step_nano
    if cut_nano == 0:
        return usd(amount_nano)
    return usd(cut_nano if amount_nano > 0 else -cut_nano)


def number(value: int) -> str:
    """A whole number: "12,345"."""
    return f"{value:,}"


def instant(at_us: int) -> str:
    """A time to the minute, UTC: "5 Mar 2026, 10:00"."""
    at = _utc(at_us)
    return f"{at.day} {at:%b %Y, %H:%M}"


def second(at_us: int) -> str:
    """A time to the second, UTC: "5 Mar, 10:00:07"."""
    at = _utc(at_us)
    return f"{at.day} {at:%b, %H:%M:%S}"


def day(at_us: int) -> str:
    """A day, UTC: "5 Mar 2026"."""
    at = _utc(at_us)
    return f"{at.day} {at:%b %Y}"


def short_day(at_us: int) -> str:
    """A day of this year: "5 Mar"."""
    at = _utc(at_us)
    return f"{at.day} {at:%b}"


def iso(at_us: int) -> str:
    """For the `datetime` of a `time` element."""
    return iso_ms(at_us)


def iso_day(at_us: int) -> str:
    """A day as forms and addresses write it: "2026-03-05"."""
    return f"{_utc(at_us):%Y-%m-%d}"


def span(duration_us: int) -> str:
    """A length of time in its two largest units: "2 h 14 min"; less than a minute is "1 min"."""
    seconds = max(duration_us // SECOND_US, 0)
    days, hours, minutes = seconds // _DAY_S, seconds % _DAY_S // _HOUR_S, seconds % _HOUR_S // _MINUTE_S
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{max(minutes, 1)} min"


def every(window: str) -> str:
    """A window as it is configured, in words that follow "every": "5h" is "5 hours", "1d" is "day"."""
    count, unit = window[:-1], _UNITS.get(window[-1:])
    if unit is None:
        return window
    return unit if count == "1" else f"{count} {unit}s"


def short_id(text: str) -> str:
    """An id that is only to be recognised: its beginning."""
    return text if len(text) <= _SHORT_ID else f"{text[:_SHORT_ID]}…"


def ago(at_us: int, now_us: int) -> str:
    """How long ago something was: "3 h 5 min ago"."""
    return "just now" if now_us - at_us < _MINUTE_S * SECOND_US else f"{span(now_us - at_us)} ago"


def prose(text: str) -> Markup:
    """A text in which `backticks` mark code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def browser_name(user_agent: str) -> str:
    """What a browser calls itself, as people call it: "Firefox on Windows"; its beginning when that tells nothing."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if browser is None:
        return user_agent[:_AGENT_SHOWN] or "Unknown browser"
    return browser if system is None else f"{browser} on {system}"


FILTERS: Final = {
    "prose": prose,
    "usd": usd,
    "price": price,
    "about": about,
    "number": number,
    "instant": instant,
    "second": second,
    "day": day,
    "short_day": short_day,
    "iso": iso,
    "iso_day": iso_day,
    "span": span,
    "every": every,
    "short_id": short_id,
    "browser": browser_name,
    "ago": ago,
}


def _utc(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // SECOND_US, UTC)

"""How much of the code one call passes, which is what somebody has to know who follows it."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import tokenbooth
from tests.support.gateway.gateway_rig import Rig, prompt

PACKAGE = str(Path(tokenbooth.__file__).parent)
MOST = 59
# What runs beside calls on the same thread.
BESIDE = ("kit/background.py", "gateway/change_feed.py", "gateway/access/registration.py")


def module_of(frame: FrameType) -> str | None:
    """The module of ours that a frame is of."""
    name = frame.f_code.co_filename
    return name.removeprefix(PACKAGE + "/") if name.startswith(PACKAGE) else None


def is_beside(frame: FrameType | None) -> bool:
    """Whether a frame is of something that runs beside the call."""
    while frame is not None:
        if module_of(frame) in BESIDE:
            return True
        frame = frame.f_back
    return False


class Trace:
    """The modules that are entered on the loop's thread."""

    def __init__(self) -> None:
        self.modules: list[str] = []

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        """Note the module of a function that is called, if it is new."""
        module = module_of(frame) if event == "call" else None
        if module is not None and module not in self.modules and not is_beside(frame):
            self.modules.append(module)


async def trace(note: Callable[[FrameType, str, object], None] | None) -> None:
    """Begin or end to trace; awaited on the loop."""
    sys.setprofile(note)


def test_a_chat_call_enters_few_modules(rig: Rig) -> None:
    """A small call that is not streamed, with all of its money; a module more has to be worth it."""
    key = rig.credit_key(rig.account("1"))
    for _ in range(3):
        assert rig.post(key, prompt("Hello")).status_code == 200
    seen = Trace()
    rig.on_loop(trace(seen.note))
    try:
        assert rig.post(key, prompt("Hello")).status_code == 200
    finally:
        rig.on_loop(trace(None))
    assert len(seen.modules) <= MOST, " ".join(seen.modules)

"""What a log line says of an exception that nobody foresaw: where it was raised, never its text.

A driver's text quotes the values of the statement that failed.
"""

import traceback


def where(failure: BaseException) -> list[str]:
    """The places that the exception came through, outermost first."""
    frames = traceback.extract_tb(failure.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]

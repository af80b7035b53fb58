"""A small upstream that speaks OpenAI's and Anthropic's formats and does as it is told: for the demo and the tests.

It answers at once, always the same, with honest token counts; directives in the prompt (see `directives`) make it slow,
broken or dishonest. It must never keep or log a prompt unless a test asked it to record.
"""

from tokenbooth_sandbox.models.recording import RecordedRequest
from tokenbooth_sandbox.models.server import ModelServer, create_model_server

__all__ = ["ModelServer", "RecordedRequest", "create_model_server"]

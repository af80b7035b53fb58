"""The names under which an upstream's answers hold what is the customer's; what stands under any other name stays here.

For an upstream's ids, addresses, prices and the state of our account with it there are more names than anybody could
list, so what passes is listed. Both of `id` and `model` pass with values of ours, a usage with its counts alone.
"""

from typing import Final

from tokenbooth.config.upstream_fields import ANSWER_EXTENSIONS, CHOICE_EXTENSIONS

# OpenAI API reference: "The chat completion object", "The chat completion chunk object", "The completion object",
# "Create embeddings".
OPENAI_FIELDS: Final = ANSWER_EXTENSIONS | {
    "choices",
    "created",
    "data",
    "object",
    "obfuscation",
    "service_tier",
}
CHOICE_FIELDS: Final = CHOICE_EXTENSIONS | {
    "delta",
    "finish_reason",
    "index",
    "logprobs",
    "message",
    "text",
}
# Anthropic API reference: "Messages" and "Streaming Messages".
MESSAGE_FIELDS: Final = frozenset(
    (
        "container",
        "content",
        "context_management",
        "role",
        "stop_details",
        "stop_reason",
        "stop_sequence",
        "type",
    )
)
MESSAGE_EVENT_FIELDS: Final = frozenset(("content_block", "context_management", "delta", "index", "type"))
# OpenAI API reference: "The response object" and "Streaming events".
RESPONSE_FIELDS: Final = frozenset(
    (
        "background",
        "completed_at",
        "created_at",
        "incomplete_details",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "object",
        "output",
        "output_text",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "service_tier",
        "status",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
    )
)
RESPONSE_EVENT_FIELDS: Final = frozenset(
    (
        "annotation",
        "annotation_index",
        "arguments",
        "code",
        "content_index",
        "delta",
        "input",
        "item",
        "item_id",
        "logprobs",
        "name",
        "obfuscation",
        "output_index",
        "part",
        "partial_image_b64",
        "partial_image_index",
        "refusal",
        "sequence_number",
        "summary_index",
        "text",
        "type",
    )
)

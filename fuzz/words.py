"""Names and words that mean something in some wire format; what is made up at random is made of them."""

from typing import Final

NAMES: Final = (
    *("model", "messages", "input", "prompt", "system", "role", "content", "type", "text", "source", "data", "url"),
    *("image_url", "tools", "tool_choice", "name", "input_schema", "function", "max_tokens", "max_output_tokens", "n"),
    *("stream", "stream_options", "thinking", "budget_tokens", "output_config", "effort", "format", "stop_sequences"),
    *("cache_control", "ttl", "file_id", "store", "reasoning", "tool_use_id", "is_error", "output", "id", "arguments"),
    *("delta", "choices", "usage", "finish_reason", "tool_calls", "index", "message", "response", "stop_reason"),
    *("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "error", "reasoning_content"),
)
MORE_NAMES: Final = (
    *("max_completion_tokens", "best_of", "include_usage", "modalities", "audio", "service_tier", "media_type"),
    *("prompt_tokens_details", "cached_tokens", "total_tokens", "cache_read_input_tokens", "partial_json", "refusal"),
    *("cache_creation_input_tokens", "completion_tokens_details", "reasoning_tokens", "reasoning_effort", "detail"),
    *("prompt_cache_hit_tokens", "cost", "status", "background", "previous_response_id", "web_search_options"),
)
WORDS: Final = (
    *("user", "assistant", "system", "text", "image", "image_url", "input_image", "input_text", "tool_use", "document"),
    *("tool_result", "base64", "file", "function", "custom", "enabled", "disabled", "auto", "any", "tool"),
    *("json_schema", "message_start", "message_delta", "message_stop", "response.completed", "response.failed"),
    *("stop", "\ud7ff", ""),
)
MORE_WORDS: Final = (
    *("content_block_delta", "text_delta", "thinking_delta", "input_json_delta", "response.incomplete", "error"),
    *("response.output_text.delta", "length", "tool_calls", "end_turn", "web_search", "code_interpreter", "ping"),
    *("[DONE]", "data:image/png;base64,AAAA", "1h", "5m", "priority", "default", "input_audio", "input_file"),
)
"""What Hypothesis need not draw from, because a test of ours names it, but a mutator may well hit upon."""

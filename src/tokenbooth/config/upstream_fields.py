"""Names of fields and values that servers of models know, whatever their kind: what they do, and what passes of them.

Sources: the API references of the vendors and servers that are named beside them.
"""

from collections.abc import Iterable, Mapping
from typing import Final

CEILING_FIELDS: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "n_predict",
    "num_predict",
    "max_length",
    "max_tokens_to_sample",
    "max_gen_len",
    "max_generated_tokens",
    "max_generation_tokens",
    "max_decode_tokens",
    "max_response_tokens",
    "max_completion_length",
    "max_output_length",
    "tokens_to_generate",
    "num_tokens_to_predict",
    "response_token_limit",
)
"""Every name under which some server takes an output ceiling; never more than one of them goes to an upstream."""


def folded(name: str) -> str:
    """A field's name without what servers and their libraries overlook: letter case, `_` and `-`."""
    return name.replace("_", "").replace("-", "").casefold()


def folded_all(names: Iterable[str]) -> frozenset[str]:
    """Names, each folded."""
    return frozenset(map(folded, names))


FOLDED_CEILINGS: Final = folded_all(CEILING_FIELDS)

# They make a server write beyond the ceiling, or up to it whatever the model wants.
OVERRIDES: Final = (
    "auto_max_new_tokens",
    "ban_eos_token",
    "bypass_eos",
    "ignore_eos",
    "ignore_eos_token",
    "min_completion_tokens",
    "min_generated_tokens",
    "min_length",
    "min_new_tokens",
    "min_output_tokens",
    "min_predict",
    "min_tokens",
    "skip_eos",
)
# Several answers under another name than the two that are counted (`n`, `best_of`).
MORE_ANSWERS: Final = (
    "beam_search",
    "beam_width",
    "candidate_count",
    "n_cmpl",
    "num_beams",
    "num_candidates",
    "num_choices",
    "num_completions",
    "num_generations",
    "num_outputs",
    "num_return_sequences",
    "num_samples",
    "use_beam_search",
)
# Input that is no text, under names that nobody counts.
OTHER_INPUT: Final = (
    "attachments",
    "audio_data",
    "file_ids",
    "files",
    "image",
    "image_data",
    "image_url",
    "images",
    "input_embeds",
    "multi_modal_data",
    "multimodal_data",
    "prompt_embeds",
    "video",
    "video_data",
    "videos",
)
IMAGE_SIZES: Final = folded_all(
    (
        "fps",
        "max_frames",
        "max_pixels",
        "media_resolution",
        "min_pixels",
        "nframes",
        "num_frames",
        "resized_height",
        "resized_width",
        "total_pixels",
    )
)
"""Fields of an image in a message that make it count for more tokens than was held for it."""

# Client libraries merge its fields with those beside it.
OPENED: Final = ("extra_body",)

FAILED_FINISH_REASONS: Final[Mapping[str, str]] = {
    "abort": "vLLM, SGLang: the engine gave the request up",
    "aborted": "servers built on them",
    "canceled": "the same in another spelling",
    "cancelled": "LiteLLM, xAI: the server ended the request",
    "error": "OpenRouter, Mistral, Cohere (ERROR): the model's server failed",
    "exception": "servers that name the kind of the failure so",
    "failed": "LM Studio: the prediction failed",
    "failure": "the same in another spelling",
    "insufficient_system_resource": "DeepSeek: the system ran out of resources",
    "modelunloaded": "LM Studio: the model was unloaded meanwhile",
    "network_error": "GLM: the inference failed",
    "time_out": "Cohere (TIMEOUT): the generation took too long",
    "timed_out": "the same in another spelling",
}
"""Finish reasons, in lower case, that mean that the server failed before the model was done, and who sends them.

Every other reason is an end, that of a content filter as well: the model's answer is as it is, and billed.
"""

CREDENTIAL_MARKS: Final = (
    "accesskey",
    "accesstoken",
    "apikey",
    "authtoken",
    "bearertoken",
    "credential",
    "password",
    "privatekey",
    "secret",
)
"""A name with one of these in it carries somebody's credential, at any kind."""

ANSWER_EXTENSIONS: Final = frozenset(
    (
        # Perplexity, "Chat completions"; xAI, "Live search" (`citations`).
        "citations",
        "images",
        "related_questions",
        "search_results",
        "videos",
        # GLM, "Chat completion" (`web_search` holds what was found, `content_filter` what was filtered).
        "content_filter",
        "web_search",
        # Azure OpenAI, "Content filtering".
        "prompt_filter_results",
        # vLLM, "OpenAI-compatible server": only where the request asks for them.
        "prompt_logprobs",
        "prompt_token_ids",
    )
)
"""Fields of an answer that are content, beside those that OpenAI's references name."""
CHOICE_EXTENSIONS: Final = frozenset(
    (
        # Azure OpenAI, "Content filtering".
        "content_filter_offsets",
        "content_filter_result",
        "content_filter_results",
        # vLLM and SGLang, "OpenAI-compatible server": at what the text stopped.
        "matched_stop",
        "prompt_logprobs",
        "prompt_token_ids",
        "stop_reason",
        "token_ids",
        # Perplexity and MiniMax: all that was said so far, or the roles of several speakers.
        "messages",
        # Together AI, "Chat completions": repeats what the request may say.
        "seed",
    )
)
"""Fields of a choice that are content, beside those that OpenAI's references name."""
USAGE_EXTENSIONS: Final = frozenset(
    (
        # Perplexity, "Chat completions".
        "num_search_queries",
        # xAI, "Live search".
        "num_sources_used",
        # Mistral, "Chat completion" with audio.
        "prompt_audio_seconds",
    )
)
"""Counts of a usage object whose names do not end in what they count."""

_NUMBERS_OFF: Final = (b"0",)
DEFAULTS: Final[Mapping[str, tuple[bytes, ...]]] = {
    **dict.fromkeys(folded_all(OVERRIDES), _NUMBERS_OFF),
    **dict.fromkeys(folded_all((*MORE_ANSWERS, "n", "best_of")), (b"1",)),
    **dict.fromkeys(folded_all(("id_slot", "slot_id")), (b"-1",)),
    folded("num_retries"): _NUMBERS_OFF,
    folded("max_retries"): _NUMBERS_OFF,
}
"""Values beside null, false and an empty list with which a field that is kept back changes nothing."""

"""The table of upstream kinds: what each kind does with a request. The one place that names vendors and their fields.

A row says under which name an upstream obeys an output ceiling, which fields would buy something that nobody priced,
and which reach the operator's account or settings there. `upstream_kinds` reads it.

Sources: the API references of the vendors and servers, by their names in the table.
"""

from dataclasses import dataclass, field
from typing import Final

from tokenbooth.config.upstream_fields import MORE_ANSWERS, OPENED, OTHER_INPUT, OVERRIDES, folded, folded_all

GENERIC: Final = "generic"


@dataclass(frozen=True, slots=True)
class KeptBack:
    """Fields that do not pass to an upstream; names are folded.

    Attributes:
        names: fields that are refused by their name.
        prefixes: beginnings of such names.
        opened: objects that are looked into, because the upstream reads fields in them like those beside them.
    """

    names: frozenset[str]
    prefixes: tuple[str, ...]
    opened: frozenset[str]


# Each row is itself alone: upstreams are looked up by what they are, and its hash would be that of all its names.
@dataclass(frozen=True, slots=True, eq=False)
class UpstreamKind:
    """One row of the table.

    Attributes:
        name: as an operator writes it.
        hosts: hosts of its own; one that begins with a dot stands for all hosts below it.
        chat, completions, responses, messages: the output ceiling's field in each format.
        takes_unnamed_ceiling: whether a ceiling that nobody asked for does no harm. Elsewhere it would: some refuse
            prompt + ceiling above the context, and some refuse a ceiling that is above what they allow.
        bounds_reasoning: whether the ceiling bounds the thinking as well; else it bounds the answer alone.
        bills_after_disconnect: whether it goes on, and bills, when a client hangs up.
        image_tokens_max: the most tokens that one image counts for there.
        thought: the field of an assistant's message in which the server takes its earlier thinking back; empty where it
            refuses or ignores it.
        needs_thought: whether it refuses a tool call that comes back without the thinking before it.
        begun_mark: the field that marks an answer that the model is to continue; empty where there is none.
        total_tells_thinking: whether its total, less prompt and completion, is thinking that it reports nowhere else;
            elsewhere the rest may be anything.
        costs: fields that buy something which is not priced.
        reaches: fields that reach the operator's account, settings, credentials or other servers, or another tenant.
        prefixes: beginnings of such fields.
        opened: objects whose fields count like those beside them.
    """

    name: str
    hosts: tuple[str, ...] = ()
    chat: str = "max_tokens"
    completions: str = "max_tokens"
    responses: str = "max_output_tokens"
    messages: str = "max_tokens"
    takes_unnamed_ceiling: bool = False
    bounds_reasoning: bool = True
    bills_after_disconnect: bool = False
    image_tokens_max: int = 2_000
    thought: str = "reasoning_content"
    needs_thought: bool = False
    begun_mark: str = ""
    total_tells_thinking: bool = False
    costs: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    kept_back: KeptBack = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Know once what every request asks for."""
        names = (*OVERRIDES, *MORE_ANSWERS, *OTHER_INPUT, *self.costs, *self.reaches)
        opened = folded_all((*OPENED, *self.opened))
        kept_back = KeptBack(folded_all(names), tuple(map(folded, self.prefixes)), opened)
        object.__setattr__(self, "kept_back", kept_back)


_TEMPLATE_OBJECTS: Final = ("chat_template_kwargs",)
SPECIFIC: Final = (
    UpstreamKind(
        "openai",
        thought="",
        hosts=("api.openai.com", ".api.openai.com"),
        chat="max_completion_tokens",
        image_tokens_max=5_000,
        # With a prediction no ceiling is obeyed, and what of it is rejected is billed as output.
        costs=("moderation", "prediction"),
        reaches=("extra_query", "organization", "project"),
    ),
    UpstreamKind(
        "azure",
        thought="",
        hosts=(".azure.com", ".azure.us", ".azure.cn"),
        chat="max_completion_tokens",
        image_tokens_max=5_000,
        costs=("enhancements", "moderation", "prediction"),
        reaches=("data_sources", "deployment", "deployment_id", "extra_query", "user_security_context"),
    ),
    UpstreamKind(
        "anthropic",
        thought="",
        hosts=("api.anthropic.com",),
        takes_unnamed_ceiling=True,
        image_tokens_max=5_000,
        costs=("inference_geo", "speed"),
        reaches=("container", "mcp_servers", "workspace_id"),
    ),
    # "Thinking mode", on calls of tools.
    UpstreamKind("deepseek", hosts=("api.deepseek.com",), needs_thought=True),
    UpstreamKind(
        "moonshot",
        # "Use the thinking model", "Partial mode".
        needs_thought=True,
        begun_mark="partial",
        hosts=("api.moonshot.cn", "api.moonshot.ai"),
        image_tokens_max=5_000,
        reaches=("cache_id", "context_cache"),
    ),
    UpstreamKind(
        "qwen",
        hosts=(".aliyuncs.com",),
        # Thinking has a budget of its own beside the ceiling.
        bounds_reasoning=False,
        bills_after_disconnect=True,
        image_tokens_max=3_000,
        costs=(
            "enable_code_interpreter",
            "enable_search",
            "forced_search",
            "search_options",
            "vl_enable_image_hw_output",
            "vl_high_resolution_images",
        ),
        reaches=("agent_options", "rag_options", "session_id"),
        opened=("parameters",),
    ),
    UpstreamKind(
        "glm",
        hosts=("open.bigmodel.cn", "api.z.ai"),
        costs=("search_engine", "search_std"),
        reaches=("conversation_id", "knowledge_id", "request_id"),
    ),
    UpstreamKind(
        "minimax",
        hosts=("api.minimax.chat", "api.minimax.io", "api.minimaxi.com", "api.minimaxi.chat"),
        chat="max_completion_tokens",
        bills_after_disconnect=True,
        costs=("knowledge_base_param", "plugins"),
        reaches=("bot_setting", "glyph", "reply_constraints"),
    ),
    UpstreamKind(
        "mistral",
        thought="",
        # "Prefix": any other answer at the end is refused.
        begun_mark="prefix",
        hosts=(".mistral.ai",),
        bills_after_disconnect=True,
        image_tokens_max=4_200,
        costs=("document_image_limit", "document_page_limit", "prediction"),
        reaches=("agent_id", "guardrails"),
    ),
    UpstreamKind(
        "groq",
        thought="reasoning",
        hosts=("api.groq.com",),
        chat="max_completion_tokens",
        bills_after_disconnect=True,
        image_tokens_max=7_000,
        costs=("compound_custom", "exclude_domains", "include_domains", "search_settings"),
    ),
    UpstreamKind(
        "xai",
        hosts=("api.x.ai", ".api.x.ai"),
        chat="max_completion_tokens",
        costs=("search_parameters",),
        reaches=("bootstrap_host", "bootstrap_port", "bootstrap_room", "deferred"),
    ),
    UpstreamKind(
        "perplexity",
        thought="",
        hosts=("api.perplexity.ai",),
        bills_after_disconnect=True,
        costs=(
            "media_response",
            "num_search_results",
            "return_images",
            "return_related_questions",
            "return_videos",
            "search_context_size",
            "search_type",
        ),
    ),
    UpstreamKind(
        "cohere",
        thought="",
        hosts=("api.cohere.com", "api.cohere.ai"),
        costs=("connectors", "search_queries_only"),
        reaches=("conversation_id",),
    ),
    UpstreamKind(
        "gemini",
        thought="",
        hosts=("generativelanguage.googleapis.com", ".googleapis.com"),
        bills_after_disconnect=True,
        image_tokens_max=5_000,
        total_tells_thinking=True,
        costs=("google_search", "google_search_retrieval", "url_context"),
        reaches=("cached_content", "labels", "safety_settings"),
        opened=("generation_config", "google"),
    ),
    UpstreamKind(
        "openrouter",
        thought="reasoning",
        hosts=("openrouter.ai",),
        image_tokens_max=5_000,
        bills_after_disconnect=True,
        costs=("image_config", "plugins", "prediction"),
        reaches=(
            "allow_fallbacks",
            "data_collection",
            "debug",
            "ignore",
            "models",
            "only",
            "order",
            "preset",
            "provider",
            "quantizations",
            "route",
            "session_id",
            "trace",
            "transforms",
            "zdr",
        ),
    ),
    UpstreamKind(
        "vllm",
        image_tokens_max=5_000,
        # A template of the client's own makes a prompt of any length out of a few bytes.
        costs=("chat_template", "media_io_kwargs", "mm_processor_kwargs", "prompt_logprobs"),
        reaches=(
            "data_parallel_rank",
            "kv_transfer_params",
            "logits_processors",
            "lora_request",
            "priority",
            "request_id",
        ),
        opened=(*_TEMPLATE_OBJECTS, "extra_args", "vllm_xargs"),
    ),
    UpstreamKind(
        "sglang",
        image_tokens_max=5_000,
        costs=("chat_template", "return_hidden_states"),
        reaches=(
            "bootstrap_host",
            "bootstrap_port",
            "bootstrap_room",
            "custom_logit_processor",
            "data_parallel_rank",
            "extra_key",
            "lora_path",
            "priority",
            "rid",
            "session_params",
        ),
        opened=(*_TEMPLATE_OBJECTS, "custom_params", "sampling_params"),
    ),
    UpstreamKind(
        "llama_cpp",
        image_tokens_max=5_000,
        costs=("chat_template", "response_fields"),
        reaches=("id_slot", "lora", "slot_id"),
        opened=_TEMPLATE_OBJECTS,
    ),
    UpstreamKind(
        "ollama",
        image_tokens_max=5_000,
        reaches=(
            "adapter",
            "context",
            "keep_alive",
            "main_gpu",
            "modelfile",
            "num_batch",
            "num_ctx",
            "num_gpu",
            "num_thread",
            "raw",
            "template",
            "use_mlock",
        ),
        opened=("options",),
    ),
    UpstreamKind(
        "lm_studio",
        image_tokens_max=5_000,
        reaches=("context_length", "draft_model", "integrations", "keep_alive", "ttl"),
    ),
    UpstreamKind(
        "litellm",
        image_tokens_max=5_000,
        costs=("enable_code_interpreter", "guardrail_config", "guardrails", "safety_model", "vector_store_ids"),
        reaches=(
            "additional_drop_params",
            "allowed_openai_params",
            "api_type",
            "api_version",
            "budget_duration",
            "cache",
            "caching",
            "callbacks",
            "client",
            "configurable_clientside_auth_params",
            "content_policy_fallbacks",
            "context_window_fallback_dict",
            "context_window_fallbacks",
            "cooldown_time",
            "deployment_id",
            "drop_params",
            "dynamic_api_version",
            "extra_query",
            "failure_callback",
            "force_timeout",
            "headers",
            "hf_model_name",
            "input_cost_per_second",
            "input_cost_per_token",
            "logger_fn",
            "max_budget",
            "max_parallel_requests",
            "max_retries",
            "mock_delay",
            "mock_response",
            "mock_timeout",
            "mock_tool_calls",
            "model_info",
            "model_list",
            "no-log",
            "num_retries",
            "organization",
            "output_cost_per_second",
            "output_cost_per_token",
            "policies",
            "preset_cache_key",
            "prompt_id",
            "prompt_variables",
            "prompt_version",
            "proxy_server_request",
            "region_name",
            "request_timeout",
            "retry_policy",
            "retry_strategy",
            "rpm",
            "secret_fields",
            "specific_deployment",
            "ssl_verify",
            "stream_timeout",
            "success_callback",
            "tags",
            "timeout",
            "tpm",
            "turn_off_message_logging",
            "user_config",
            "user_continue_message",
        ),
        prefixes=(
            "aws_",
            "azure_",
            "bedrock_",
            "databricks_",
            "gcs_",
            "langfuse_",
            "langsmith_",
            "litellm_",
            "oci_",
            "s3_",
            "sagemaker_",
            "user_api_key",
            "vertex_",
            "watsonx_",
            "wx_",
        ),
        opened=("provider_options",),
    ),
)
# Fields of servers and gateways that have no kind of their own, and objects in which somebody may read fields.
REST: Final = UpstreamKind(
    GENERIC,
    image_tokens_max=5_000,
    costs=("google", "grounding", "rerank", "retrieval", "speculation"),
    reaches=(
        "adapter_id",
        "adapter_source",
        "config",
        "gateway",
        "portkey_config",
        "strategy",
        "targets",
        "virtual_key",
    ),
    prefixes=("helicone_", "portkey_"),
    opened=(
        "additional_model_request_fields",
        "completion_params",
        "extra",
        "extra_params",
        "gen_kwargs",
        "generation_kwargs",
        "inference_config",
        "llm_kwargs",
        "model_kwargs",
        "model_params",
        "params",
    ),
)

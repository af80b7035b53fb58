"""What a row of the corpus says: the bytes that a server answers with, and what has to be read from them.

Only tests import this. The answers were written by hand after the source that each row names; what has to come out of
them follows that source, too, and not the readers.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from tokenbooth.domain.usage import Usage

Server = Literal[
    "OpenAI",
    "Azure",
    "Anthropic",
    "DeepSeek",
    "Moonshot",
    "Qwen",
    "GLM",
    "MiniMax",
    "Mistral",
    "Groq",
    "xAI",
    "Perplexity",
    "Cohere",
    "Gemini",
    "OpenRouter",
    "vLLM",
    "SGLang",
    "llama.cpp",
    "Ollama",
    "LM Studio",
    "LiteLLM",
]
Wire = Literal["openai.chat", "openai.completions", "openai.responses", "anthropic.messages", "openai.embeddings"]
Case = Literal["whole", "streamed", "tools", "cached", "reasoning", "error in 200", "error event", "cut"]
SERVERS: Final[tuple[Server, ...]] = get_args(Server)
CASES: Final[tuple[Case, ...]] = get_args(Case)


class ToolCall(NamedTuple):
    """A call of a tool as the client has to get it.

    Attributes:
        name: the tool's name.
        arguments: the arguments as one JSON text; what a custom tool gets is no JSON.
        call_id: the server's id of the call; empty where it gave none.
    """

    name: str
    arguments: str
    call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One answer and what has to be read from it.

    Attributes:
        server: who answers so.
        wire: the format that was asked for.
        case: what the row is an example of; an answer may show more than that.
        shape: what is special about the answer, in a few words.
        source: the documentation's page, or the report as owner/repository#number; several stand behind semicolons.
        answer: the body of an answer with status 200, as the server writes it.
        streamed: whether a stream was asked for; a server may answer with a body that is none.
        usage: what was consumed; None where the server does not say it, so that it has to be estimated from the text.
        prompt_usage: what it said of the prompt before the text, where it never says what the whole answer consumed.
        failed: the client has to be told of an error: the server reported one, or the answer stops before its end.
        text: what the answer says, refusals included, without its reasoning; of several choices one after the other.
        reasoning: what the model is seen to think.
        tool_calls: the calls, in their order.
        finish: why the model stopped, in the server's word; None where it never says.
    """

    server: Server
    wire: Wire = "openai.chat"
    case: Case
    shape: str
    source: str
    answer: bytes
    streamed: bool
    usage: Usage | None
    prompt_usage: Usage | None = None
    failed: bool = False
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str | None = None

    @property
    def media_type(self) -> str:
        """The content type that the answer comes with."""
        is_json = self.answer.lstrip()[:1] in (b"{", b"[")
        return "application/json" if is_json else "text/event-stream"

    @property
    def name(self) -> str:
        """What distinguishes it from every other row."""
        return f"{self.server}: {self.shape}"

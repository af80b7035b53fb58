"""What a client is told when an upstream fails: our words, nothing of the operator's."""

import msgspec
import pytest

from tokenbooth.gateway.errors import Category, Refusal, UpstreamBroke, UpstreamTimedOut, UpstreamUnreachable
from tokenbooth.gateway.upstream import errors as upstream_errors
from tokenbooth.gateway.upstream.errors import is_worth_another, refusal_of


class Answered:
    """An upstream's answer that has a status and headers only."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self._headers = headers

    def header(self, name: str) -> str | None:
        return self._headers.get(name.replace("-", "_"))

    async def read(self) -> bytes:
        return b""

    async def next_chunk(self) -> bytes | None:
        return None


def refusal_of_status(response: Answered, body: bytes, *, api_key: str | None = None) -> Refusal:
    """What a client is told, at a time that does not matter here."""
    private = upstream_errors.Private(api_key)
    return upstream_errors.refusal_of_status(response, body, now_us=0, private=private)


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (400, 400, "bad"),
        (413, 413, "bad"),
        (422, 422, "bad"),
        (401, 502, "upstream_error"),
        (402, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (404, 502, "upstream_error"),
        (302, 502, "upstream_error"),
        (500, 502, "upstream_error"),
        (429, 503, "overloaded"),
        (503, 503, "overloaded"),
        (529, 503, "overloaded"),
    ],
)
def test_statuses(status: int, told: int, code: str) -> None:
    """The client's mistakes pass, the operator's problems don't."""
    refusal = refusal_of_status(Answered(status), b'{"error":{"message":"secret sauce","code":"bad"}}')

    assert (refusal.status, refusal.code) == (told, code)
    assert ("secret sauce" in refusal.message) == (status in (400, 413, 422))


def test_failures_without_an_answer() -> None:
    """Time-outs are 504, everything else is 502."""
    assert [refusal_of(f("x")).status for f in (UpstreamTimedOut, UpstreamBroke, UpstreamUnreachable)] == [
        504,
        502,
        502,
    ]


@pytest.mark.parametrize(
    ("status", "another"),
    [(200, False), (400, False), (401, False), (404, False), (429, True), (500, True), (529, True)],
)
def test_when_another_upstream_may_succeed(status: int, another: bool) -> None:
    """Where the server is at fault."""
    assert is_worth_another(status) is another


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_upstreams_wait_passes(status: int) -> None:
    """A server that says when to come back is quoted."""
    assert refusal_of_status(Answered(status, retry_after="7"), b"").retry_after_us == 7_000_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"too long","param":"messages"}}', "too long"),
        (b'{"error":"too long"}', "too long"),
        (b'{"message":"too long"}', "too long"),
        (b'{"error":{"message":""}}', "The model's server refused the request."),
        (b"<html>", "The model's server refused the request."),
        (b'{"error":5}', "The model's server refused the request."),
        (b"{}", "The model's server refused the request."),
    ],
)
def test_messages_of_refused_requests(body: bytes, message: str) -> None:
    """Every form that servers write errors in."""
    refusal = refusal_of_status(Answered(400), body)

    assert (refusal.message, refusal.category) == (message, Category.INVALID)


def test_a_body_too_large_keeps_its_category() -> None:
    """413 is told as such, with a code of ours where the upstream has none."""
    refusal = refusal_of_status(Answered(413), b'{"error":{"message":"m","code":413}}')

    assert (refusal.category, refusal.code) == (Category.TOO_LARGE, "upstream_invalid_request")


# Put together at run time, so that nobody takes them for real ones.
SECRETS = [
    "sk-proj-" + "a1B2" * 10,
    "sk-or-v1-" + "ab12" * 10,
    "sk-ant-api03-" + "aB1_" * 10,
    "gsk_" + "aB12" * 10,
    "org-" + "aB12" * 5,
    "https://10.1.2.3:8000/v1/chat/completions?key=" + "aB12" * 5,
    "http://vllm.internal:8000/v1",
    "10.1.2.3",
    "ops@example.com",
]


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
@pytest.mark.parametrize("field", ["message", "code", "param"])
def test_the_operators_secrets_never_pass(field: str, secret: str) -> None:
    """Keys, addresses and account ids are removed, in whichever field of the error they stand (P12)."""
    error = {"message": "m", field: f"The key {secret} is wrong."}
    refusal = refusal_of_status(Answered(400), msgspec.json.encode({"error": error}))

    assert secret.split()[-1] not in f"{refusal.message} {refusal.code} {refusal.param}"


@pytest.mark.parametrize("field", ["message", "code", "param"])
def test_no_field_is_endless(field: str) -> None:
    """An upstream's error is cut, whatever its length."""
    refusal = refusal_of_status(Answered(400), msgspec.json.encode({"error": {"message": "m", field: "x" * 10_000}}))

    assert len(f"{refusal.message}{refusal.code}{refusal.param}") <= 1_000


@pytest.mark.parametrize("field", ["message", "code", "param"])
def test_our_credential_never_passes_whatever_its_form(field: str) -> None:
    """A key of a provider whose keys look like nothing we know is removed because it is ours (P12)."""
    api_key = "AIza" + "aB12" * 8
    body = msgspec.json.encode({"error": {"message": "m", field: f"The key {api_key} is wrong."}})
    refusal = refusal_of_status(Answered(400), body, api_key=api_key)

    assert api_key not in f"{refusal.message} {refusal.code} {refusal.param}"


def test_plain_codes_and_params_pass() -> None:
    """What a program needs to know of its mistake stays."""
    error = {"message": "m", "code": "context_length_exceeded", "param": "messages[0].content"}
    refusal = refusal_of_status(Answered(400), msgspec.json.encode({"error": error}))

    assert (refusal.code, refusal.param) == ("context_length_exceeded", "messages[0].content")


ACCOUNT_ERRORS = [
    (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
        "invalid_request_error",
    ),
    ("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota"),
    ("Billing hard limit has been reached", "billing_hard_limit_reached"),
    ("Your account is not active, please check your billing details on our website.", "billing_not_active"),
    ("Insufficient Balance", "unknown_error"),
    ("This request requires more credits. You have insufficient credits.", "x"),
    ("Access denied, please make sure your account is in good standing.", "Arrearage"),
    ("Your organization must be verified to stream this model.", "unsupported_value"),
    ("This organization has been disabled.", "invalid_request_error"),
    ("Organization acme has reached its monthly spend limit", "x"),
    ("The free tier of the model has been exhausted.", "AllocationQuota.FreeTierOnly"),
    ("exceeded_current_quota_error: please recharge", "exceeded_current_quota_error"),
    ("\u8d26\u6237\u4f59\u989d\u4e0d\u8db3", "1113"),
    ("oops", "insufficient_balance"),
    ("oops", "account_deactivated"),
    ("oops", "billing_not_active"),
]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503])
@pytest.mark.parametrize(("message", "code"), ACCOUNT_ERRORS)
def test_the_operators_account_is_never_the_customers(message: str, code: str, status: int) -> None:
    """Whatever the status and the shape of the error, what it says of balance, quota or organisation stays here."""
    for error in (
        {"error": {"message": message, "code": code}},
        {"error": {"message": message, "type": code}},
        {"type": "error", "error": {"type": code, "message": message}},
        {"message": message, "code": code},
        {"error": message if code == "x" else f"{message} {code}"},
    ):
        refusal = refusal_of_status(Answered(status), msgspec.json.encode(error))
        assert refusal.code in ("upstream_error", "overloaded")
        assert refusal.status in (502, 503)
        assert message not in refusal.message
        assert refusal.param is None


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 8192. This model supports at most 4096 completion tokens.",
        "Invalid schema for function 'get_account_balance': 'type' is not valid.",
        "Invalid schema for function 'billing_lookup': missing 'properties'.",
        "Unsupported value: 'messages[0].role' does not support 'plan' with this model.",
        "This model's maximum context length is 8192 tokens.",
        "Unrecognized request argument supplied: project",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
def test_a_customers_own_mistake_is_told_as_it_is(message: str) -> None:
    """A name of a tool, or a word that also stands for money, is no reason to hide what is wrong."""
    refusal = refusal_of_status(Answered(400), msgspec.json.encode({"error": {"message": message}}))
    assert (refusal.status, refusal.message) == (400, message)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        # bytedance/deer-flow#1515: Gemini.
        ([{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}], "Unknown name", None),
        # FastAPI's documentation, Handling errors.
        ({"detail": "Bad temperature"}, "Bad temperature", None),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required"}]},
            "body.messages.0: Field required",
            "body.messages.0",
        ),
        # FuzzAnything/PromptFuzz#42.
        ({"error": {"message": "bad thing", "param": ["a", 0]}}, "bad thing", "a.0"),
        ({"error": {"message": "bad thing", "param": {"x": 1}, "code": []}}, "bad thing", None),
        ({"error": {"message": {"text": 1, "message": "nested"}}}, "nested", None),
        ({"errors": [{"message": "first"}, {"message": "second"}]}, "first; second", None),
        ({"error_msg": "bad thing"}, "bad thing", None),
        ({"msg": "bad thing", "code": 400}, "bad thing", None),
        # RFC 9457.
        ({"type": "about:blank", "title": "Bad Request", "detail": "n is 0"}, "Bad Request: n is 0", None),
        ({"object": "error", "message": "too long", "type": "BadRequestError"}, "too long", None),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "x: too long"}}, "x: too long", None),
        # Mistral's API reference, 422.
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "Input should be 1"}]}},
            "body.n: Input should be 1",
            "body.n",
        ),
        # BerriAI/litellm: JSON inside the message.
        (
            {"error": {"message": 'litellm.BadRequestError: OpenAIException - {"error":{"message":"too long"}}'}},
            "too long",
            None,
        ),
        # OpenRouter's documentation, Errors and debugging.
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"n is 0"}}'}}},
            "n is 0",
            None,
        ),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusals_reason_passes_from_every_shape(status: int, body: object, message: str, param: str | None) -> None:
    """A field of an odd type does not lose the others."""
    refusal = refusal_of_status(Answered(status), msgspec.json.encode(body))

    assert (refusal.status, refusal.message, refusal.param) == (status, message, param)


def test_a_short_text_is_a_reason() -> None:
    """A page, half a JSON or a long text is none."""
    assert refusal_of_status(Answered(400), b"n must be 1\n").message == "n must be 1"
    for body in (b"<p>n must be 1</p>", b'{"error":', b"x" * 1_000, b"\x00\x01", b"\xff"):
        assert refusal_of_status(Answered(400), body).message == "The model's server refused the request."


CANARIES = [
    "http://10.1.2.3:8000/x",
    "10.1.2.3:8000",
    "fe80::1ff:fe23:4567:890a",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "vllm-3.models.svc.cluster.local:8000",
    "gpu-7.internal",
    "localhost:8000",
    "vllm-backend:8000",
    "api.vendor-example.com",
    "ops@example.com",
    "req_011CQ1234",
    "acct_12345678",
    "org-AbCd1234",
    "request id 8f14e45f-ceea-467f-a8d1-9a2b5c3d4e5f",
    "request_id=20260430204055297b",
    "AKIA" + "ABCD1234" * 2,
    "eyJ" + "hbGciOi1" * 4,
    "Bearer " + "aB12" * 6,
    "$0.002",
    "/home/ops/models/server.py",
    "OpenRouter",
    "https:\\/\\/api.vendor",
    "https%3A%2F%2Fvendor%2Fv1",
    "logid: 0217123456789",
    "/models/vendor-7b",
    "C:\\models\\vendor.gguf",
    "0.002 dollars",
    "Cerebras",
]


@pytest.mark.parametrize("canary", CANARIES)
def test_what_is_the_operators_is_removed_and_the_rest_stays(canary: str) -> None:
    """Addresses, keys, ids, prices, and who the model's server is."""
    message = refusal_of_status(
        Answered(400), msgspec.json.encode({"error": {"message": f"messages.0.content is too long ({canary}) for n"}})
    ).message

    assert message.startswith("messages.0.content is too long (")
    assert message.endswith(") for n")
    assert canary.split()[-1] not in message


@pytest.mark.parametrize(
    "words",
    [
        "messages.0.content: Input should be a valid string at 12:30:45",
        "tool `get_user_message` has max_tokens:4096 and user_message",
        "Unknown parameter: 'reasoning_effort' in tools[0].function.parameters, std::vector",
        "This model's maximum context length is 131072 tokens, however you requested 140000",
        "call_aB12cD34eF56gH78iJ90kL12 has no tool_call_id; request ids must be unique",
        "gpt-4o-mini does not take temperature 0.7 of deepseek-chat",
    ],
)
def test_the_customers_words_stay(words: str) -> None:
    """What says how to mend a request is readable."""
    refusal = refusal_of_status(Answered(400), msgspec.json.encode({"error": {"message": words}}))
    assert refusal.message == words


def test_the_models_name_there_becomes_its_name_here() -> None:
    """One that is a plain word only where it is quoted."""
    named = upstream_errors.Private(None, "http://gpu:8000/v1", "vendor/model-7b", "small")
    body = b'{"error":{"message":"vendor/model-7b at gpu:8000 is too small"}}'
    told = upstream_errors.refusal_of_status(Answered(400), body, now_us=0, private=named).message
    plain = upstream_errors.Private(None, "", "up", "small")
    body = b'{"error":{"message":"The model `up` is up"}}'

    assert told == "small at [removed] is too small"
    assert upstream_errors.refusal_of_status(Answered(400), body, now_us=0, private=plain).message == (
        "The model `small` is up"
    )


@pytest.mark.parametrize("written", ["Vendor/Model-7B", "http://gpu-7.prod:8000/v1", "gpu-7.prod:8000", "GPU-7.prod"])
def test_what_an_upstream_is_called_is_found_in_any_spelling(written: str) -> None:
    """Its model in another letter case, its host without the port."""
    private = upstream_errors.Private(None, "http://gpu-7.prod:8000/v1", "vendor/model-7b", "small")
    body = msgspec.json.encode({"error": {"message": f"n is 0 at {written} now"}})
    told = upstream_errors.refusal_of_status(Answered(400), body, now_us=0, private=private).message

    assert told in ("n is 0 at [removed] now", "n is 0 at small now")


def test_a_reason_for_the_log_repeats_no_key() -> None:
    """One without a known form is known by itself."""
    reason = upstream_errors.reason_for_log(b'{"error":"wrong key: token-abc of x"}', (None, "token-abc"))

    assert reason == "wrong key: [removed] of x"


def test_a_reason_for_the_log_is_short_and_quotes_nothing_long() -> None:
    """It could be a prompt."""
    prompt = "a very long secret of the customer " * 3
    body = msgspec.json.encode({"error": {"message": f'Cannot read "{prompt}" at 10.1.2.3'}})
    reason = upstream_errors.reason_for_log(body)

    assert "secret" not in reason
    assert "10.1.2.3" not in reason
    assert len(upstream_errors.reason_for_log(b'{"error":"' + b"x " * 1_000 + b'"}')) <= 200

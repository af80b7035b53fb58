"""litellm and LangChain where the budget is spent, and where an answer breaks off. Prints what they raised as JSON.

Runs in an environment of its own. Each is told to try again twice, as their users do.
"""

import json
import os

import litellm
from langchain_openai import ChatOpenAI

base, key, model = os.environ["BASE_URL"], os.environ["API_KEY"], os.environ["MODEL"]
spent = os.environ["SPENT_KEY"]
OURS = ("Budget has been exceeded", "model's server failed")
broken = "[[write 9]] [[stop-after 3]]"


def lite(face: str, api_key: str, text: str) -> list[object]:
    """A stream of litellm's."""
    address = f"{base}/v1" if face == "openai" else f"{base}/anthropic"
    return list(
        litellm.completion(
            model=f"{face}/{model}",
            api_base=address,
            api_key=api_key,
            messages=[{"role": "user", "content": text}],
            max_tokens=50,
            max_retries=2,
            stream=True,
        )
    )


def chain(api_key: str, text: str) -> list[object]:
    """A stream of LangChain's."""
    return list(ChatOpenAI(model=model, base_url=f"{base}/v1", api_key=api_key, max_retries=2).stream(text))


def raised(call: object, *arguments: str) -> list[object]:
    """The kind of the error, and whether it is in our words."""
    try:
        call(*arguments)
    except Exception as error:
        return [type(error).__name__, any(words in str(error) for words in OURS)]
    return []


print(
    json.dumps(
        {
            "litellm_spent": raised(lite, "openai", spent, "Hi"),
            "litellm_claude_spent": raised(lite, "anthropic", spent, "Hi"),
            "litellm_broken": raised(lite, "openai", key, broken),
            "litellm_claude_broken": raised(lite, "anthropic", key, broken),
            "langchain_spent": raised(chain, spent, "Hi"),
            "langchain_broken": raised(chain, key, broken),
        }
    )
)

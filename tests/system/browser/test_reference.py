"""The reference's examples: every curl on the page runs as it stands, with keys and ids filled in."""

import html
import os
import re
import subprocess

import httpx

from tests.support.dashboard.chromium import Demo
from tokenbooth_sandbox.demo_texts import MODEL

# What a demo refuses for a good reason: there is no deposit of that hash, and only Stripe can sign its events.
EXPECTED = {
    ("POST", "/api/billing/verify-topup"): {400, 404, 503},
    ("POST", "/api/webhooks/stripe"): {400},
}
EXAMPLE = re.compile(r'aria-label="Example of ([A-Z]+) ([^"]+)"><code>(.*?)</code>', re.DOTALL)


def test_every_example_runs(demo: Demo) -> None:
    """Pasted into a shell, each example is answered with success, or with the refusal that belongs there."""
    page = httpx.get(f"{demo.base_url}/docs").text
    key = demo.management_key
    opened = demo.api("POST", "/api/billing/checkout", key, {"planSlug": "pro"}).json()
    httpx.post(opened["sessionUrl"], data={"card": "4242424242424242"}).raise_for_status()
    subscription = demo.api("GET", "/api/billing/status", key).json()["subscriptions"][0]["id"]
    examples = [(method, path, html.unescape(code)) for method, path, code in EXAMPLE.findall(page)]
    assert len(examples) > 20
    wrong = []
    for method, path, code in examples:
        kind = "management" if path.startswith("/api/keys/management") else "subscription"
        body = {"name": "example"} if kind == "management" else {"name": "example", "subscriptionId": subscription}
        made = demo.api("POST", f"/api/keys/{kind}", key, body).json()
        filled = code.replace("SUBSCRIPTION_ID", subscription).replace("KEY_ID", made["id"]).replace("MODEL", MODEL)
        status, answer = _run(filled, key, str(made.get("apiKey", "")))
        if status not in EXPECTED.get((method, path), {200}):
            wrong.append((method, path, status, answer[:200]))
    assert wrong == []


def _run(code: str, management_key: str, api_key: str) -> tuple[int, str]:
    shown = code.replace("curl ", "curl -s -w '\\n%{http_code}' ", 1)
    environment = {**os.environ, "MK": management_key, "API_KEY": api_key}
    done = subprocess.run(["sh", "-c", shown], capture_output=True, text=True, timeout=30, env=environment)
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), answer

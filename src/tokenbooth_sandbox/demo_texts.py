"""The demo's two texts: its configuration, and what to paste into a terminal."""

from typing import Final

MODEL: Final = "deepseek/deepseek-chat-v3-0324"

_CONFIGURATION: Final = """\
# The configuration of this demo. Change what you like and start the demo again; it is not overwritten.
#
# `tokenbooth demo` puts four things in place of what is written here: the upstream "demo" is its own model server,
# [stripe] api_base is its own sandbox, as long as it ends with /_sandbox/stripe, [usdc] rpc_url is its own chain, as
# long as it ends with /_sandbox/chain, and --host and --port win.
# `tokenbooth serve --config` with this file serves the same data without these. Before you do that, point the upstream
# to a real server, remove [stripe] or put a test key of Stripe there and remove api_base, and remove [usdc].
# `tokenbooth init` writes a configuration that names every setting.

[server]
host = "127.0.0.1"
port = 8080

[store]
url = "sqlite:///tokenbooth.db"

# Made up for the sandbox; worth nothing anywhere else.
[stripe]
secret_key = "{stripe_key}"
webhook_secrets = ["{webhook_secret}"]
api_base = "http://127.0.0.1:8080/_sandbox/stripe"

# Deposits come in on a chain of the demo's own. The private key to this public one was thrown away.
[usdc]
rpc_url = "http://127.0.0.1:8080/_sandbox/chain"
xpub = "{xpub}"

[plans.standard]
price_usd = "20"
interval = "month"
rpm = 60
budget_usd = "0.14"
window = "5h"

[plans.pro]
price_usd = "60"
interval = "month"
rpm = 200
budget_usd = "0.42"
window = "5h"

[upstreams.demo]
base_url = "http://127.0.0.1:8081/v1"

[models."{model}"]
upstreams = [{{ name = "demo", model = "deepseek-chat", weight = 1 }}]
input_usd_per_million = "0.27"
cached_input_usd_per_million = "0.07"
output_usd_per_million = "1.10"
context_tokens = 65536
max_output_tokens = 8192
"""

# No comments in it: some shells take them for commands when they are pasted.
_WALK_THROUGH: Final = """\
API={base_url}
MK={management_key}
field() {{ sed -n "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/p"; }}

echo "1. Subscribe to Pro, and pay with the card of the sandbox"
PAY=$(curl -s -X POST $API/api/billing/checkout \\
  -H "Authorization: Bearer $MK" -H "Content-Type: application/json" \\
  -d '{{"planSlug": "pro"}}' | field sessionUrl)
curl -s -X POST "$PAY" -d card=4242424242424242; echo

echo "2. See the subscription"
curl -s $API/api/billing/status -H "Authorization: Bearer $MK"; echo
SUB=$(curl -s $API/api/billing/status -H "Authorization: Bearer $MK" | grep -o 'sub_[0-9a-f]*' | head -n 1)

echo "3. Create a key"
KEY=$(curl -s -X POST $API/api/keys/subscription \\
  -H "Authorization: Bearer $MK" -H "Content-Type: application/json" \\
  -d "{{\\"name\\": \\"my-app\\", \\"subscriptionId\\": \\"$SUB\\"}}" | field apiKey)

echo "4. Use it"
curl -s $API/v1/chat/completions \\
  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'; echo

echo "5. See what it cost"
curl -s $API/api/usage -H "Authorization: Bearer $MK"; echo

echo "6. Top up with USDC on the sandbox's chain"
TO=$(curl -s -X POST $API/api/billing/topup \\
  -H "Authorization: Bearer $MK" -H "Content-Type: application/json" \\
  -d '{{"amount": 50, "method": "usdc"}}' | field address)
TX=$(curl -s $API/_sandbox/chain \\
  -d "{{\\"id\\":1,\\"method\\":\\"sandbox_sendUsdc\\",\\"params\\":[\\"$TO\\",\\"50\\"]}}" | grep -o '0x[0-9a-f]*')
curl -s -X POST $API/api/billing/verify-topup \\
  -H "Authorization: Bearer $MK" -H "Content-Type: application/json" \\
  -d "{{\\"txHash\\": \\"$TX\\", \\"amount\\": 50}}"; echo
"""


def configuration(stripe_key: str, webhook_secret: str, xpub: str) -> str:
    """The configuration of a new demo; the secrets are the sandbox's, `xpub` gives deposit addresses."""
    return _CONFIGURATION.format(stripe_key=stripe_key, webhook_secret=webhook_secret, xpub=xpub, model=MODEL)


def walk_through(base_url: str, management_key: str) -> str:
    """Commands for a POSIX shell with curl, from the subscription to what a call cost."""
    return _WALK_THROUGH.format(base_url=base_url, management_key=management_key, model=MODEL)

"""What the official SDKs make of a key that is good, wrong, not allowed, or used up, as one JSON document on the last line.

Usage: apikeys_sdk.py GATEWAY_URL KEY...

The expectations are in tests/black_box/apikeys.rs.
"""

import json
import sys

import anthropic
import openai

MESSAGES = [{"role": "user", "content": "x"}]


def of(module, ask):
    try:
        ask()
        return "ok"
    except module.APIStatusError as e:
        return f"{type(e).__name__} {e.status_code}"


url, keys = sys.argv[1], sys.argv[2:]
seen = {"openai": [], "anthropic": []}
for key in keys:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    seen["openai"].append(of(openai, lambda: client.chat.completions.create(model="m", messages=MESSAGES)))
    client = anthropic.Anthropic(base_url=f"{url}/anthropic", api_key=key, max_retries=0)
    seen["anthropic"].append(of(anthropic, lambda: client.messages.create(model="m", max_tokens=9, messages=MESSAGES)))
print(json.dumps(seen))

"""What the official Anthropic SDK makes of calls that hold no conversation, as one JSON document on the last line.

Usage: anthropic_operations_sdk.py GATEWAY_URL

Each entry is one call. The expectations are in tests/black_box/sdk_operations.rs, the same for all SDKs.
"""

import json
import os
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1] + "/anthropic", api_key=os.environ["CLIENT_KEY"], max_retries=0)
REQUEST = {"system": "Be brief.", "messages": [{"role": "user", "content": "Weather in Bergen?"}]}


def count(model):
    raw = client.messages.with_raw_response.count_tokens(model=model, **REQUEST)
    return {"tokens": raw.parse().input_tokens, "estimate": raw.headers.get("x-wasmgate-estimate")}


def failure(call, **arguments):
    try:
        call(**arguments)
    except anthropic.APIStatusError as e:
        return {"class": type(e).__name__, "status": e.status_code, "message": e.body["error"]["message"]}
    return {"class": None}


def batches():
    request = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": REQUEST["messages"]}
    made = client.messages.batches.create(requests=[{"custom_id": "a", "params": request}])
    return {"made": made.id, "status": client.messages.batches.retrieve(made.id).processing_status}


def main():
    print(json.dumps({
        "counted": count("claude-haiku-4-5"),
        "estimated": count("gpt-4o"),
        "denied": failure(client.messages.count_tokens, model="reject", **REQUEST),
        "batches": batches(),
    }))


main()

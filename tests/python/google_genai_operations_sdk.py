"""What the official Google SDK makes of calls that hold no conversation, as one JSON document on the last line.

Usage: google_genai_operations_sdk.py GATEWAY_URL

Each entry is one call. The expectations are in tests/black_box/sdk_operations.rs. A model of `gemini/` is one of a provider of Gemini's API, one of
`up/` of OpenAI's.
"""

import json
import os
import sys

from google import genai
from google.genai import errors, types

client = genai.Client(
    api_key=os.environ["CLIENT_KEY"],
    http_options=types.HttpOptions(base_url=sys.argv[1], retry_options=types.HttpRetryOptions(attempts=1)))


def failure(call, **arguments):
    try:
        call(**arguments)
    except errors.APIError as e:
        return {"class": type(e).__name__, "code": e.code, "status": e.status, "message": e.message}
    return {"class": None}


def embed(model, contents, **config):
    answer = client.models.embed_content(model=model, contents=contents, config=types.EmbedContentConfig(**config))
    return [e.values for e in answer.embeddings]


def count(model):
    return client.models.count_tokens(model=model, contents="hello there").total_tokens


def main():
    out = {"counted": count("gemini/emb"), "estimated": count("up/m")}
    for name, model in (("gemini", "gemini/emb"), ("openai", "up/text-embedding-3-small")):
        out["one " + name] = embed(model, "a")
        out["several " + name] = embed(model, ["a", "b"], task_type="RETRIEVAL_QUERY", output_dimensionality=2)
    out["denied"] = failure(embed, model="reject", contents="x")
    out["busy"] = failure(embed, model="up/busy", contents="x")
    print(json.dumps(out))


main()

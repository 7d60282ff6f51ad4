"""What the official OpenAI SDK makes of calls that hold no conversation, as one JSON document on the last line.

Usage: openai_operations_sdk.py GATEWAY_URL

Each entry is one call. The expectations are in tests/black_box/sdk_operations.rs, the same for all SDKs.
"""

import base64
import json
import os
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key=os.environ["CLIENT_KEY"], max_retries=0)


def failure(call, **arguments):
    try:
        call(**arguments)
    except openai.APIStatusError as e:
        return {"class": type(e).__name__, "status": e.status_code, "message": e.body["message"], "retry_after": e.response.headers.get("retry-after")}
    return {"class": None}


def embeddings(model="text-embedding-3-small", **more):
    # The SDK asks for base64 and decodes it.
    answer = client.embeddings.create(model=model, input=["a", "b"], **more)
    return {"vectors": [d.embedding for d in answer.data], "tokens": answer.usage.prompt_tokens}


def completion(model="davinci-002"):
    answer = client.completions.create(model=model, prompt="x", max_tokens=5, temperature=0)
    return {"text": answer.choices[0].text, "tokens": answer.usage.total_tokens}


def completion_stream(model="davinci-002"):
    text, tokens = "", None
    for chunk in client.completions.create(model=model, prompt="x", stream=True, stream_options={"include_usage": True}):
        text += "".join(c.text for c in chunk.choices)
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    return {"text": text, "tokens": tokens}


def moderation():
    result = client.moderations.create(input="x").results[0]
    return {"flagged": result.flagged, "violence": result.categories.violence}


def image():
    answer = client.images.generate(model="gpt-image-1", prompt="x")
    return {"image": base64.b64decode(answer.data[0].b64_json).decode(), "tokens": answer.usage.total_tokens}


def edit():
    answer = client.images.edit(model="gpt-image-1", prompt="x", image=("a.png", b"\x89PNG\r\n\x1a\n\r\n--", "image/png"))
    return base64.b64decode(answer.data[0].b64_json).decode()


def speech():
    data = client.audio.speech.create(model="tts-1", input="x", voice="alloy").read()
    return {"bytes": len(data), "sum": sum(data)}


def transcription():
    answer = client.audio.transcriptions.create(model="ears", file=("a.wav", b"RIFF\r\n\r\n--\xff\xfe", "audio/wav"))
    return answer.text


def files():
    made = client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    return {
        "made": made.id,
        "listed": [f.id for f in client.files.list(purpose="batch")],
        "content": client.files.content(made.id).read().decode(),
        "deleted": client.files.delete(made.id).deleted,
    }


def batches():
    made = client.batches.create(input_file_id="file-1", endpoint="/v1/embeddings", completion_window="24h")
    return {"made": made.id, "status": client.batches.retrieve(made.id).status, "cancelled": client.batches.cancel(made.id).status}


def main():
    out = {}
    for call in (embeddings, completion, completion_stream, moderation, image, edit, speech, transcription, files, batches):
        out[call.__name__] = call()
    # A provider of another API has them, and what the SDK asks for is made of its numbers.
    out["crossed"] = embeddings("gemini/emb")
    out["crossed floats"] = embeddings("gemini/emb", encoding_format="float", dimensions=2)
    out["translated"] = completion("claude/m")
    out["translated_stream"] = completion_stream("claude/m")
    out["denied"] = failure(client.embeddings.create, model="reject", input="x")
    out["busy"] = failure(client.embeddings.create, model="up/busy", input="x")
    out["not spoken"] = failure(client.embeddings.create, model="claude/x", input="x")
    print(json.dumps(out))


main()

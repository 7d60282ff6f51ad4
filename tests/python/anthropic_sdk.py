"""What the official Anthropic SDK makes of the gateway's answers, as one JSON document on the last line.

Usage: anthropic_sdk.py GATEWAY_URL

Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
tests/black_box/sdk.rs, the same for all SDKs, which is why answers are reduced to one shape here.
"""

import json
import os
import sys

import anthropic

SYSTEM = "Be brief."
USER = [{"role": "user", "content": "Weather and time in Bergen?"}]
TOOLS = [
    {"name": name, "description": description, "input_schema": {
        "type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter], "additionalProperties": False}}
    for name, description, parameter in [("weather", "Tells the weather.", "city"), ("time", "Tells the time.", "zone")]
]
RESULT = USER + [
    {"role": "assistant", "content": [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_w", "name": "weather", "input": {"city": 'Bergen "fjord"'}},
        {"type": "tool_use", "id": "call_t", "name": "time", "input": {"zone": "Europe/Oslo"}},
    ]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "call_w", "content": "rain, 7°C"},
        {"type": "tool_result", "tool_use_id": "call_t", "content": [{"type": "text", "text": "12:00"}]},
    ]},
]

client = anthropic.Anthropic(base_url=sys.argv[1] + "/anthropic", api_key=os.environ["CLIENT_KEY"], max_retries=0)


def usage(u):
    details = getattr(u, "output_tokens_details", None) or {}
    details = details if isinstance(details, dict) else details.model_dump()
    return {
        "input": u.input_tokens + (u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0),
        "output": u.output_tokens,
        "cached": u.cache_read_input_tokens,
        "reasoning": details.get("thinking_tokens"),
    }


def answer(message):
    blocks = {kind: [b for b in message.content if b.type == kind] for kind in ("text", "tool_use", "thinking")}
    return {
        "text": "".join(b.text for b in blocks["text"]),
        "calls": [{"id": b.id, "name": b.name, "input": b.input} for b in blocks["tool_use"]],
        "thinking": "".join(b.thinking for b in blocks["thinking"]),
        "signature": "".join(b.signature or "" for b in blocks["thinking"]),
        "stop": message.stop_reason,
        "model": message.model,
        "usage": usage(message.usage),
    }


def arguments(model, messages, more):
    return {"model": model, "messages": messages, "system": SYSTEM, "max_tokens": 500, **more}


def unary(model, messages=USER, **more):
    return answer(client.messages.create(**arguments(model, messages, more)))


def stream(model, messages=USER, **more):
    """Events put together by hand, as programs without the helper do; their order is checked on the way."""
    message, pieces, open_block = None, {}, set()
    for event in client.messages.create(stream=True, **arguments(model, messages, more)):
        if event.type == "message_start":
            assert message is None
            message = event.message
        elif event.type == "content_block_start":
            assert message is not None and event.index == len(message.content), "blocks begin after the message, in order"
            open_block.add(event.index)
            message.content.append(event.content_block)
        elif event.type == "content_block_delta":
            assert event.index in open_block, "only open blocks grow"
            block, delta = message.content[event.index], event.delta
            if delta.type == "text_delta":
                block.text += delta.text
            elif delta.type == "input_json_delta":
                pieces[event.index] = pieces.get(event.index, "") + delta.partial_json
            elif delta.type == "thinking_delta":
                block.thinking += delta.thinking
            elif delta.type == "signature_delta":
                block.signature = (block.signature or "") + delta.signature
        elif event.type == "content_block_stop":
            open_block.remove(event.index)
        elif event.type == "message_delta":
            assert not open_block, "every block is stopped before the message ends"
            message.stop_reason = event.delta.stop_reason
            for name, value in event.usage.model_dump().items():
                if value is not None:
                    setattr(message.usage, name, value)
    for index, text in pieces.items():
        message.content[index].input = json.loads(text or "{}")
    return answer(message)


def helper(model, messages=USER, **more):
    """The SDK's own accumulator."""
    with client.messages.stream(**arguments(model, messages, more)) as events:
        for _ in events:
            pass
        return answer(events.get_final_message())


def failure(call, *args, **more):
    try:
        call(*args, **more)
    except anthropic.APIError as e:
        response = getattr(e, "response", None)
        return {
            "class": type(e).__name__,
            "status": getattr(e, "status_code", None),
            "message": e.message,
            "retry_after": response.headers.get("retry-after") if response is not None else None,
        }
    return {"class": None}


def main():
    out = {}
    for how in (unary, stream, helper):
        name = how.__name__
        out["text " + name] = how("text", extra_body={"temperature": 0})
        out["tools " + name] = how("tools", tools=TOOLS, tool_choice={"type": "auto"})
        if name != "unary":
            out["interleaved " + name] = how("interleaved", tools=TOOLS)
        out["result " + name] = how("result", messages=RESULT, tools=TOOLS)
        out["usage " + name] = how("usage")
        out["thinking " + name] = how("thinking")
        for model in ("e400", "e401", "e429", "e529", "unknown"):
            out[f"{model} {name}"] = failure(how, model)
    for how in (stream, helper):
        out["broken " + how.__name__] = failure(how, "broken")
    out["models"] = [m.id for m in client.models.list()]
    out["model"] = client.models.retrieve("text").id
    out["no model"] = failure(client.models.retrieve, "unknown")
    print(json.dumps(out))


main()

"""What the official OpenAI SDK makes of the gateway's answers, as one JSON document on the last line.

Usage: openai_sdk.py GATEWAY_URL

Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
tests/black_box/sdk.rs, the same for all SDKs, which is why answers are reduced to one shape here.
"""

import json
import os
import sys

import openai

USER = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather and time in Bergen?"}]
TOOLS = [
    {"type": "function", "function": {"name": name, "description": description, "strict": True, "parameters": {
        "type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter], "additionalProperties": False}}}
    for name, description, parameter in [("weather", "Tells the weather.", "city"), ("time", "Tells the time.", "zone")]
]
RESULT = USER + [
    {"role": "assistant", "content": "Let me look.", "tool_calls": [
        {"id": "call_w", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bergen \\"fjord\\""}'}},
        {"id": "call_t", "type": "function", "function": {"name": "time", "arguments": '{"zone":"Europe/Oslo"}'}},
    ]},
    {"role": "tool", "tool_call_id": "call_w", "content": "rain, 7°C"},
    {"role": "tool", "tool_call_id": "call_t", "content": [{"type": "text", "text": "12:00"}]},
]

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key=os.environ["CLIENT_KEY"], max_retries=0)


def usage(u):
    if u is None:
        return None
    return {
        "input": u.prompt_tokens,
        "output": u.completion_tokens,
        "cached": u.prompt_tokens_details.cached_tokens if u.prompt_tokens_details else None,
        "reasoning": u.completion_tokens_details.reasoning_tokens if u.completion_tokens_details else None,
    }


def signature(extra):
    return "".join(d.get("signature") or "" for d in (extra or {}).get("reasoning_details") or [])


def answer(completion):
    choice = completion.choices[0]
    extra = choice.message.model_extra or {}
    calls = choice.message.tool_calls or []
    return {
        "text": choice.message.content or "",
        "calls": [{"id": c.id, "name": c.function.name, "input": json.loads(c.function.arguments)} for c in calls],
        "thinking": extra.get("reasoning_content") or "",
        "signature": signature(extra),
        "stop": choice.finish_reason,
        "model": completion.model,
        "usage": usage(completion.usage),
    }


def unary(model, messages=USER, **more):
    return answer(client.chat.completions.create(model=model, messages=messages, **more))


def stream(model, messages=USER, **more):
    """Chunks put together by hand, as programs without the helper do."""
    made = {"text": "", "calls": [], "thinking": "", "signature": "", "stop": None, "model": None, "usage": None}
    chunks = client.chat.completions.create(model=model, messages=messages, stream=True, stream_options={"include_usage": True}, **more)
    for chunk in chunks:
        made["model"] = chunk.model
        made["usage"] = usage(chunk.usage) or made["usage"]
        for choice in chunk.choices:
            extra = choice.delta.model_extra or {}
            made["text"] += choice.delta.content or ""
            made["thinking"] += extra.get("reasoning_content") or ""
            made["signature"] += signature(extra)
            made["stop"] = choice.finish_reason or made["stop"]
            for call in choice.delta.tool_calls or []:
                if call.index == len(made["calls"]):
                    made["calls"].append({"id": call.id, "name": call.function.name, "input": ""})
                made["calls"][call.index]["input"] += call.function.arguments or ""
    for call in made["calls"]:
        call["input"] = json.loads(call["input"])
    return made


def helper(model, messages=USER, **more):
    """The SDK's own accumulator."""
    with client.chat.completions.stream(model=model, messages=messages, stream_options={"include_usage": True}, **more) as events:
        for _ in events:
            pass
        return answer(events.get_final_completion())


def failure(call, *args, **more):
    try:
        call(*args, **more)
    except openai.APIError as e:
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
        out["text " + name] = how("text", temperature=0)
        out["tools " + name] = how("tools", tools=TOOLS, tool_choice="auto", parallel_tool_calls=True)
        if name == "stream":  # the helper itself takes one call after the other only
            out["interleaved stream"] = how("interleaved", tools=TOOLS)
        out["result " + name] = how("result", messages=RESULT, tools=TOOLS)
        out["usage " + name] = how("usage")
        if name != "helper":
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

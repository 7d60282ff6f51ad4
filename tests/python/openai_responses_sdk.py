"""What the official OpenAI SDK makes of the gateway's responses, as one JSON document on the last line.

Usage: openai_responses_sdk.py GATEWAY_URL

Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
tests/black_box/sdk.rs, the same for all SDKs, which is why answers are reduced to one shape here.
"""

import json
import os
import sys

import openai
import pydantic

USER = [{"role": "user", "content": "Weather and time in Bergen?"}]
TOOLS = [
    {"type": "function", "name": name, "description": description, "strict": True, "parameters": {
        "type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter], "additionalProperties": False}}
    for name, description, parameter in [("weather", "Tells the weather.", "city"), ("time", "Tells the time.", "zone")]
]
RESULT = USER + [
    {"role": "assistant", "content": "Let me look."},
    {"type": "function_call", "call_id": "call_w", "name": "weather", "arguments": '{"city":"Bergen \\"fjord\\""}'},
    {"type": "function_call", "call_id": "call_t", "name": "time", "arguments": '{"zone":"Europe/Oslo"}'},
    {"type": "function_call_output", "call_id": "call_w", "output": "rain, 7°C"},
    {"type": "function_call_output", "call_id": "call_t", "output": [{"type": "input_text", "text": "12:00"}]},
]

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key=os.environ["CLIENT_KEY"], max_retries=0)


class City(pydantic.BaseModel):
    city: str


def usage(u):
    return u and {
        "input": u.input_tokens,
        "output": u.output_tokens,
        "cached": u.input_tokens_details.cached_tokens,
        "reasoning": u.output_tokens_details.reasoning_tokens,
    }


def answer(response):
    calls = [i for i in response.output if i.type == "function_call"]
    thoughts = [i for i in response.output if i.type == "reasoning"]
    return {
        "text": response.output_text,
        "calls": [{"id": c.call_id, "name": c.name, "input": json.loads(c.arguments)} for c in calls],
        "thinking": "".join(s.text for t in thoughts for s in t.summary),
        "signature": "".join(t.encrypted_content or "" for t in thoughts),
        "stop": response.status,
        "model": response.model,
        "usage": usage(response.usage),
    }


def unary(model, input=USER, **more):
    return answer(client.responses.create(model=model, instructions="Be brief.", input=input, store=False, **more))


def stream(model, input=USER, **more):
    """Events put together by hand, as programs without the helper do."""
    made = {"text": "", "calls": [], "thinking": "", "signature": "", "stop": None, "model": None, "usage": None}
    calls, number = {}, 0
    for event in client.responses.create(model=model, instructions="Be brief.", input=input, stream=True, store=False, **more):
        assert event.sequence_number == number, event
        number += 1
        match event.type:
            case "response.output_text.delta":
                made["text"] += event.delta
            case "response.reasoning_summary_text.delta":
                made["thinking"] += event.delta
            case "response.output_item.added" if event.item.type == "function_call":
                calls[event.output_index] = {"id": event.item.call_id, "name": event.item.name, "input": ""}
            case "response.function_call_arguments.delta":
                calls[event.output_index]["input"] += event.delta
            case "response.output_item.done" if event.item.type == "reasoning":
                made["signature"] += event.item.encrypted_content or ""
            case "response.completed":
                made["stop"], made["model"], made["usage"] = event.response.status, event.response.model, usage(event.response.usage)
                assert answer(event.response)["text"] == made["text"]
    made["calls"] = [{**call, "input": json.loads(call["input"])} for _, call in sorted(calls.items())]
    return made


def helper(model, input=USER, **more):
    """The SDK's own accumulator."""
    with client.responses.stream(model=model, instructions="Be brief.", input=input, store=False, **more) as events:
        for _ in events:
            pass
        return answer(events.get_final_response())


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
        if name != "unary":
            out["interleaved " + name] = how("interleaved", tools=TOOLS)
        out["result " + name] = how("result", input=RESULT, tools=TOOLS)
        out["usage " + name] = how("usage")
        out["thinking " + name] = how("thinking")
        for model in ("e400", "e401", "e429", "e529", "unknown"):
            out[f"{model} {name}"] = failure(how, model)
    for how in (stream, helper):
        out["broken " + how.__name__] = failure(how, "broken")
    parsed = client.responses.parse(model="json", instructions="Be brief.", input=USER, text_format=City)
    out["json"] = parsed.output_parsed.model_dump()
    out["kept"] = failure(client.responses.retrieve, "resp_1")
    out["kept deleted"] = failure(client.responses.delete, "resp_1")
    print(json.dumps(out))


main()

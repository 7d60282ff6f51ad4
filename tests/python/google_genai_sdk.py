"""What the official Google SDK makes of the gateway's answers, as one JSON document on the last line.

Usage: google_genai_sdk.py GATEWAY_URL

Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
tests/black_box/sdk_genai.rs, the same for every format of the upstream.
"""

import json
import os
import sys

import pydantic
from google import genai
from google.genai import errors, types

USER = "Weather and time in Bergen?"
FUNCTIONS = [
    types.FunctionDeclaration(
        name=name, description=description, parameters_json_schema={
            "type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]})
    for name, description, parameter in [("weather", "Tells the weather.", "city"), ("time", "Tells the time.", "zone")]
]
TOOLS = [types.Tool(function_declarations=FUNCTIONS)]
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)

client = genai.Client(
    api_key=os.environ["CLIENT_KEY"],
    http_options=types.HttpOptions(base_url=sys.argv[1], retry_options=types.HttpRetryOptions(attempts=1)))


class Place(pydantic.BaseModel):
    city: str


def config(**more):
    return types.GenerateContentConfig(system_instruction="Be brief.", automatic_function_calling=BY_HAND, **more)


def answer(chunks):
    parts = [p for c in chunks for k in (c.candidates or [])[:1] for p in (k.content and k.content.parts) or []]
    usage = [c.usage_metadata for c in chunks if c.usage_metadata][-1]
    return {
        "text": "".join(p.text for p in parts if p.text and not p.thought),
        "thinking": "".join(p.text for p in parts if p.text and p.thought),
        "calls": [{"id": p.function_call.id, "name": p.function_call.name, "input": p.function_call.args} for p in parts if p.function_call],
        "stop": [k.finish_reason for c in chunks for k in c.candidates or [] if k.finish_reason][-1].value,
        "usage": {
            "input": usage.prompt_token_count,
            "output": (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            "cached": usage.cached_content_token_count,
            "reasoning": usage.thoughts_token_count,
        },
        "id": bool(chunks[-1].response_id),
        "model": chunks[-1].model_version,
    }


def unary(model, contents=USER, **more):
    return answer([client.models.generate_content(model=model, contents=contents, config=config(**more))])


def stream(model, contents=USER, **more):
    return answer(list(client.models.generate_content_stream(model=model, contents=contents, config=config(**more))))


def agent(model, ask):
    """A chat sends back what it was given, whatever that was."""
    chat = client.chats.create(model=model, config=config(tools=TOOLS))
    chunks = list(ask(chat, USER))
    calls = answer(chunks)["calls"]
    results = [types.Part(function_response=types.FunctionResponse(id=c["id"], name=c["name"], response={"output": "done"})) for c in calls]
    return {"first": [c["name"] for c in calls], "then": answer(list(ask(chat, results)))["text"], "history": len(chat.get_history(curated=True))}


def failure(call, *args, **more):
    try:
        call(*args, **more)
    except errors.APIError as e:
        return {"class": type(e).__name__, "code": e.code, "status": e.status, "message": e.message}
    return {"class": None}


def main():
    out = {}
    for how in (unary, stream):
        name = how.__name__
        out["text " + name] = how("text", temperature=0)
        out["tools " + name] = how("tools", tools=TOOLS)
        out["usage " + name] = how("usage")
        out["thinking " + name] = how("thinking", thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000))
        out["json " + name] = json.loads(how("json", response_mime_type="application/json", response_schema=Place)["text"])
        for model in ("e400", "e401", "e429", "e503", "unknown"):
            out[f"{model} {name}"] = failure(how, model)
    out["parsed"] = client.models.generate_content(
        model="json", contents=USER, config=config(response_mime_type="application/json", response_schema=Place)).parsed.model_dump()
    out["broken stream"] = failure(stream, "broken")
    out["agent unary"] = agent("agent", lambda chat, message: [chat.send_message(message)])
    out["agent stream"] = agent("agent", lambda chat, message: chat.send_message_stream(message))
    out["models"] = [m.name for m in client.models.list()]
    out["model"] = client.models.get(model="text").name
    out["no model"] = failure(client.models.get, model="unknown")
    print(json.dumps(out))


main()

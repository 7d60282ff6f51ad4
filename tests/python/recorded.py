"""What the official SDKs make of recorded answers that come through the gateway, as one JSON document on the last line.

Usage: recorded.py GATEWAY_URL CASES

CASES is a JSON file: a list of {"format", "model", "stream"}; the model's name tells the scripted upstream which recording to answer. The
output is a list in the same order. What must hold is in tests/black_box/replay/sdk.rs.
"""

import json
import os
import sys

import anthropic
import openai

url, cases = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
key = os.environ["CLIENT_KEY"]
openai_client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
anthropic_client = anthropic.Anthropic(base_url=url + "/anthropic", api_key=key, max_retries=0)
USER = [{"role": "user", "content": "What did you say?"}]


def parsed(arguments):
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments or ""


def texts(content, kind="text"):
    """Content is a string, or a list of parts of which some hosts make use."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    pieces = []
    for part in content or []:
        part = part if isinstance(part, dict) else part.model_dump()
        if part.get("type") == kind:
            value = part.get(kind)
            pieces.append(value if isinstance(value, str) else texts(value))
    return "".join(pieces)


def reasoning(extra):
    for name in ("reasoning_content", "reasoning"):
        if isinstance(extra.get(name), str) and extra[name]:
            return extra[name]
    return "".join(d.get("text") or d.get("summary") or "" for d in extra.get("reasoning_details") or [])


def chat(case):
    more = {"stream_options": {"include_usage": True}} if case["stream"] else {}
    answer = openai_client.chat.completions.create(model=case["model"], messages=USER, stream=case["stream"], **more)
    text, thinking, calls, stop, usage = "", "", {}, None, None
    for chunk in answer if case["stream"] else [answer]:
        usage = chunk.usage or usage
        for choice in chunk.choices or []:
            if choice.index:
                continue
            said = choice.delta if case["stream"] else choice.message
            stop = stop or choice.finish_reason
            if said is None:
                continue
            text += texts(said.content)
            thinking += reasoning(said.model_extra or {}) + texts(said.content, "thinking")
            listed = list(said.tool_calls or [])
            for call in listed:
                index = getattr(call, "index", None)
                entry = calls.setdefault(len(calls) if index is None else index, {"name": "", "arguments": ""})
                inner = call.function if getattr(call, "function", None) else getattr(call, "custom", None)
                if inner is not None:
                    entry["name"] = entry["name"] or inner.name or ""
                    entry["arguments"] += getattr(inner, "arguments", None) or getattr(inner, "input", None) or ""
            if getattr(said, "function_call", None):
                entry = calls.setdefault(-1, {"name": "", "arguments": ""})
                entry["name"] = entry["name"] or said.function_call.name or ""
                entry["arguments"] += said.function_call.arguments or ""
    return {
        "text": text,
        "thinking": thinking,
        "calls": [[c["name"], parsed(c["arguments"])] for _, c in sorted(calls.items()) if c["name"]],
        "stop": stop,
        "input": usage.prompt_tokens if usage else 0,
        "output": usage.completion_tokens if usage else 0,
    }


def responses(case):
    answer = openai_client.responses.create(model=case["model"], input=USER, stream=case["stream"])
    if case["stream"]:
        last, items = None, {}
        for event in answer:
            if event.type == "response.output_item.done":
                items[event.output_index] = event.item
            last = getattr(event, "response", None) or last
        answer = last
        if items:
            answer.output = [item for _, item in sorted(items.items())]
    text, thinking, calls = "", "", []
    for item in answer.output:
        if item.type == "message":
            text += "".join(part.text for part in item.content if part.type == "output_text")
        elif item.type == "reasoning":
            content = "".join(part.text for part in getattr(item, "content", None) or [])
            thinking += content or "\n\n".join(part.text for part in item.summary or [])
        elif item.type == "function_call":
            calls.append([item.name, parsed(item.arguments)])
        elif item.type == "custom_tool_call":
            calls.append([item.name, parsed(item.input)])
    details = answer.incomplete_details
    return {
        "text": text,
        "thinking": thinking,
        "calls": calls,
        "stop": details.reason if details else answer.status,
        "input": answer.usage.input_tokens if answer.usage else 0,
        "output": answer.usage.output_tokens if answer.usage else 0,
    }


def messages(case):
    request = {"model": case["model"], "max_tokens": 64, "messages": USER}
    if case["stream"]:
        with anthropic_client.messages.stream(**request) as stream:
            answer = stream.get_final_message()
    else:
        answer = anthropic_client.messages.create(**request)
    text, thinking, calls = "", "", []
    for block in answer.content:
        if block.type == "text":
            text += block.text
        elif block.type == "thinking":
            thinking += block.thinking
        elif block.type == "tool_use":
            calls.append([block.name, block.input])
    usage = answer.usage
    return {
        "text": text,
        "thinking": thinking,
        "calls": calls,
        "stop": answer.stop_reason,
        "input": (usage.input_tokens or 0) + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0),
        "output": usage.output_tokens,
    }


READERS = {"openai-chat": chat, "openai-responses": responses, "anthropic-messages": messages}


def read(case):
    try:
        return READERS[case["format"]](case)
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:  # What breaks an SDK is a finding, not the end of the others.
        return {"error": "BROKEN " + type(error).__name__, "message": str(error)}


print(json.dumps([read(case) for case in cases]))

"""Streams one answer of a real model through the gateway with each official SDK, and prints what arrived as JSON.

Usage: real_model.py GATEWAY_URL
"""

import json
import os
import sys

import anthropic
import openai

MODEL = "fast"  # an alias of configs/quickstart.yaml
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
TOKENS = 24


def with_openai(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key=os.environ["CLIENT_KEY"], max_retries=0)
    text, pieces, usage, stop = "", 0, None, None
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=TOKENS, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            stop = choice.finish_reason or stop
            if choice.delta.content:
                text, pieces = text + choice.delta.content, pieces + 1
    return {"text": text, "pieces": pieces, "input": usage.prompt_tokens, "output": usage.completion_tokens, "stop": stop}


def with_anthropic(url):
    client = anthropic.Anthropic(base_url=url + "/anthropic", api_key=os.environ["CLIENT_KEY"], max_retries=0)
    pieces = 0
    with client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=TOKENS, extra_body={"temperature": 0}) as stream:
        for _ in stream.text_stream:
            pieces += 1
        message = stream.get_final_message()
    usage = message.usage
    text = "".join(block.text for block in message.content if block.type == "text")
    return {"text": text, "pieces": pieces, "input": usage.input_tokens + (usage.cache_read_input_tokens or 0), "output": usage.output_tokens, "stop": message.stop_reason}


print(json.dumps({"openai": with_openai(sys.argv[1]), "anthropic": with_anthropic(sys.argv[1])}))

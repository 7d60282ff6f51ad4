"""The official Python SDK as a client of the MCP server. Prints what it saw as one JSON document.

mcp_sdk.py URL http MODE [KEY]
mcp_sdk.py - stdio MODE PROGRAM ARGUMENT...
"""

import asyncio
import json
import sys

import anyio
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client


def server():
    url, way, rest = sys.argv[1], sys.argv[2], sys.argv[4:]
    if way == "stdio":
        return stdio_client(StdioServerParameters(command=rest[0], args=rest[1:]))
    if rest:
        return streamable_http_client(f"{url}/mcp", http_client=create_mcp_http_client(headers={"x-api-key": rest[0]}))
    return f"{url}/mcp"


async def failure(work):
    try:
        await work
        return None
    except MCPError as error:
        return error.error.code


async def cancelled(client):
    """A call of a model that never answers is given up."""
    with anyio.move_on_after(1) as scope:
        await client.call_tool("generate", {"prompt": "x", "model": "silent"})
    return scope.cancelled_caught


async def main():
    seen = {}
    async with Client(server(), mode=sys.argv[3]) as client:
        seen["version"] = client.protocol_version
        seen["server"] = client.server_info.name
        seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        progress = []

        async def told(done, total, message):
            progress.append(done)

        result = await client.call_tool("generate", {"prompt": "Hi", "model": "text"}, progress_callback=told)
        seen["generate"] = result.structured_content["content"]
        seen["progress"] = len(progress) > 0 and progress == sorted(progress)
        result = await client.call_tool("write", {"path": "a.py", "prompt": "Double.", "model": "file"})
        seen["write"] = result.structured_content["content"]
        result = await client.call_tool("validate", {"code": "def a(:\n", "language": "python"})
        seen["valid"] = result.structured_content["valid"]
        result = await client.call_tool("best_of_n", {"prompt": "Double.", "model": "file", "num_candidates": 2})
        seen["best"] = len(result.structured_content["candidates"])
        result = await client.call_tool("list_models", {})
        seen["models"] = sorted(model["id"] for model in result.structured_content["models"])
        result = await client.call_tool("usage", {"by": "status"})
        seen["usage"] = result.is_error
        result = await client.call_tool("generate", {"model": "text"})
        seen["wrong"] = [result.is_error, result.content[0].text]
        seen["cancelled"] = await cancelled(client)
        seen["resources"] = [str(resource.uri) for resource in (await client.list_resources()).resources]
        read = await client.read_resource("wasmgate://models/file")
        seen["resource"] = json.loads(read.contents[0].text)["id"]
        seen["prompts"] = [prompt.name for prompt in (await client.list_prompts()).prompts]
        prompt = await client.get_prompt("write_code", {"task": "A queue."})
        seen["prompt"] = "A queue." in prompt.messages[0].content.text
        seen["no_tool"] = await failure(client.call_tool("nothing", {}))
        seen["no_resource"] = await failure(client.read_resource("wasmgate://nothing"))
    print(json.dumps(seen))


asyncio.run(main())

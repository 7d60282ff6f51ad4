// The official TypeScript SDK as a client of the MCP server. Prints what it saw as one JSON document.
//
// mcp_sdk.cjs URL http [KEY]
// mcp_sdk.cjs - stdio PROGRAM ARGUMENT…
const { Client } = require('@modelcontextprotocol/sdk/client/index.js')
const { StdioClientTransport } = require('@modelcontextprotocol/sdk/client/stdio.js')
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js')

const [url, way, ...rest] = process.argv.slice(2)

function transport() {
  if (way === 'stdio') return new StdioClientTransport({ command: rest[0], args: rest.slice(1), stderr: 'ignore' })
  const headers = rest.length > 0 ? { 'x-api-key': rest[0] } : {}
  return new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } })
}

async function failure(work) {
  try {
    await work
    return null
  } catch (error) {
    return error.code ?? error.name
  }
}

async function main() {
  const seen = {}
  const client = new Client({ name: 'test', version: '1' })
  const used = transport()
  await client.connect(used)
  const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options)
  seen.version = used.protocolVersion ?? null
  seen.server = client.getServerVersion().name
  seen.tools = (await client.listTools()).tools.map((tool) => tool.name)
  const progress = []
  // Counted where messages come in: the SDK forgets a call's `onprogress` when its answer is in the same read as what was said before.
  const deliver = used.onmessage
  used.onmessage = (message, extra) => {
    if (message.method === 'notifications/progress') progress.push(message.params.progress)
    deliver(message, extra)
  }
  const answer = await call('generate', { prompt: 'Hi', model: 'text' }, { onprogress: () => {} })
  seen.generate = answer.structuredContent.content
  seen.progress = progress.length > 0
  seen.write = (await call('write', { path: 'a.py', prompt: 'Double.', model: 'file' })).structuredContent.content
  seen.valid = (await call('validate', { code: 'def a(:\n', language: 'python' })).structuredContent.valid
  seen.best = (await call('best_of_n', { prompt: 'Double.', model: 'file', num_candidates: 2 })).structuredContent.candidates.length
  seen.models = (await call('list_models', {})).structuredContent.models.map((model) => model.id).sort()
  seen.usage = (await call('usage', { by: 'status' })).isError
  const wrong = await call('generate', { model: 'text' })
  seen.wrong = [wrong.isError, wrong.content[0].text]
  const abort = new AbortController()
  const waiting = failure(call('generate', { prompt: 'x', model: 'silent' }, { signal: abort.signal }))
  setTimeout(() => abort.abort(), 200)
  seen.cancelled = (await waiting) !== null
  seen.resources = (await client.listResources()).resources.map((resource) => resource.uri)
  seen.resource = JSON.parse((await client.readResource({ uri: 'wasmgate://models/file' })).contents[0].text).id
  seen.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name)
  const prompt = await client.getPrompt({ name: 'write_code', arguments: { task: 'A queue.' } })
  seen.prompt = prompt.messages[0].content.text.includes('A queue.')
  seen.no_tool = await failure(call('nothing', {}))
  seen.no_resource = await failure(client.readResource({ uri: 'wasmgate://nothing' }))
  if (way === 'http') {
    await used.terminateSession()
    seen.ended = (await failure(client.ping())) !== null
  }
  await client.close()
  console.log(JSON.stringify(seen))
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})

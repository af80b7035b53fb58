"""Runs an inference engine on a tiny model with random weights, and prints its address when it answers.

It runs in the engines' own environment and imports nothing of ours: `serve_model.py ENGINE MODEL_FILE`.
"""

import socket
import sys
import threading
from typing import Any

DIMENSIONS = 64
LAYERS = 2
HEADS = 4
FEED_FORWARD = 128
CONTEXT_TOKENS = 2_048
LETTERS = 94
TOOL_CALL = '<tool_call>\n{"name": "weather", "arguments": {"unit": "c"}}\n</tool_call>'
# How chats are written for the model; an engine finds in it how tools are called.
CHAT_TEMPLATE = r"""
{%- if tools %}{{- '<|im_start|>system\n# Tools\n\nYou may call functions.\n<tools>' }}
{%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
{{- '\n</tools>\nReturn a json object with function name and arguments within <tool_call></tool_call> tags:\n' }}
{{- '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}
{%- if message.content is string %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""


def write_model(path: str) -> None:
    """Write a model of Llama's form that answers with noise, always the same; its tokens are bytes and letters."""
    import numpy as np
    from gguf import GGUFWriter

    rng = np.random.default_rng(1)
    writer = GGUFWriter(path, "llama")
    count = _add_tokens(writer)
    writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(DIMENSIONS)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIMENSIONS // HEADS)
    writer.add_vocab_size(count)

    def noise(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", noise(*shape))

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(DIMENSIONS, np.float32))

    output = noise(count, DIMENSIONS)
    # Only letters are likely: no end, and no halves of a character, which some engines stumble over.
    output[: count - LETTERS] = 0
    writer.add_tensor("output.weight", output)
    add("token_embd", count, DIMENSIONS)
    add_norm("output_norm")
    for layer in range(LAYERS):
        add_norm(f"blk.{layer}.attn_norm")
        add_norm(f"blk.{layer}.ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}", DIMENSIONS, DIMENSIONS)
        add(f"blk.{layer}.ffn_gate", FEED_FORWARD, DIMENSIONS)
        add(f"blk.{layer}.ffn_up", FEED_FORWARD, DIMENSIONS)
        add(f"blk.{layer}.ffn_down", DIMENSIONS, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any) -> int:
    from gguf import TokenType

    tokens = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    # "\u2581" is how a space is written. A whole call is one token, so that a request can bias the noise to it.
    tokens += [
        (text, TokenType.NORMAL) for text in (TOOL_CALL.replace(" ", "\u2581"), "\u2581", *map(chr, range(33, 127)))
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-1.0 if kind is TokenType.NORMAL else 0.0 for _, kind in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    return len(tokens)


def serve_llama_cpp(path: str, *, embeddings: bool) -> str:
    """llama.cpp's own server; with `embeddings` it serves nothing else."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 2 * CONTEXT_TOKENS
    params.n_parallel = 2
    params.port = 0
    params.warmup = False
    params.use_jinja = True
    if embeddings:
        params.n_parallel = 1
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    global running
    running = xllamacpp.Server(params)
    return str(running.listening_address)


def serve_cyllama(path: str) -> str:
    """The server of cyllama, which knows chats only, and streams none of them."""
    from cyllama.llama.server.python import PythonServer, ServerConfig

    port = _free_port()
    config = ServerConfig(
        model_path=path, host="127.0.0.1", port=port, n_ctx=CONTEXT_TOKENS, n_gpu_layers=0, n_parallel=1
    )
    global running
    running = PythonServer(config)
    assert running.start()
    return f"http://127.0.0.1:{port}"


def serve_llama_cpp_python(path: str) -> str:
    """The server of llama-cpp-python, which streams but knows no `stream_options`."""
    import uvicorn
    from llama_cpp.server.app import Settings, create_app

    port = _free_port()
    app = create_app(settings=Settings(model=path, n_ctx=CONTEXT_TOKENS, n_gpu_layers=0, embedding=False))
    threading.Thread(target=uvicorn.run, args=(app,), kwargs={"port": port, "log_level": "warning"}).start()
    return f"http://127.0.0.1:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(engine: str, path: str) -> None:
    """Serve until killed."""
    write_model(path)
    match engine:
        case "llama.cpp":
            url = serve_llama_cpp(path, embeddings=False)
        case "llama.cpp-embeddings":
            url = serve_llama_cpp(path, embeddings=True)
        case "cyllama":
            url = serve_cyllama(path)
        case "llama-cpp-python":
            url = serve_llama_cpp_python(path)
        case _:
            raise SystemExit(f"no such engine: {engine}")
    print(f"\nlistening on {url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A real llama.cpp server (xllamacpp) on a tiny model with random weights, written on the spot.

Standalone: `python llama_server.py [--port 0] [--slots 4] [--context 1024] [--blocks 2] [--embedding 64]` in an
interpreter that has `xllamacpp` and `gguf`. It prints `LISTEN http://127.0.0.1:PORT`, serves until its
standard input closes or SIGTERM comes, and leaves no file behind. It imports nothing of the test suite.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

ALIAS = "tiny"
HEADS = 4
WORDS = ("the", "and", "token", "stream", "reader", "answer", "hello", "world", "a", "of", "is", "to")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary() -> list[tuple[str, gguf.TokenType]]:
    """Every token with its llama.cpp type. All 256 bytes are there, so any prompt can be tokenized."""
    normal, control, byte = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    return [
        ("<unk>", gguf.TokenType.UNKNOWN),
        ("<s>", control),
        ("</s>", control),
        *((f"<0x{value:02X}>", byte) for value in range(256)),
        *((chr(code), normal) for code in range(0x21, 0x7F)),
        *(("\u2581" + word, normal) for word in WORDS),
        ("<|im_start|>", control),
        ("<|im_end|>", control),
    ]


def write_model(path: Path, *, context: int, embedding: int, blocks: int) -> None:
    """Write a llama-architecture GGUF file with seeded normal weights: always the same model for the same sizes."""
    tokens = vocabulary()
    forward = embedding * 2
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(embedding)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(forward)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(embedding // HEADS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)

    random = np.random.default_rng(20)

    def weights(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0.0, 0.2, shape).astype(np.float32))

    weights("token_embd", len(tokens), embedding)
    weights("output", len(tokens), embedding)
    weights("output_norm", embedding)
    for block in range(blocks):
        for norm in ("attn_norm", "ffn_norm"):
            weights(f"blk.{block}.{norm}", embedding)
        for square in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"blk.{block}.{square}", embedding, embedding)
        for wide in ("ffn_gate", "ffn_up"):
            weights(f"blk.{block}.{wide}", forward, embedding)
        weights(f"blk.{block}.ffn_down", embedding, forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def start(model: Path, *, port: int, slots: int, context: int) -> xllamacpp.Server:
    """Start the server's own threads. Context shift on: an answer that ignores its end token never runs out."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {ALIAS}
    params.port = port
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.ctx_shift = True
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.warmup = False
    return xllamacpp.Server(params)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0 is any that is free")
    options.add_argument("--slots", type=int, default=4, help="answers that may run at once; more wait in a queue")
    options.add_argument("--context", type=int, default=1024, help="tokens per slot")
    options.add_argument("--blocks", type=int, default=2, help="more blocks: slower tokens")
    options.add_argument("--embedding", type=int, default=64, help="a multiple of 8; wider: slower tokens")
    chosen = options.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny.gguf"
        write_model(model, context=chosen.context, embedding=chosen.embedding, blocks=chosen.blocks)
        server = start(model, port=chosen.port, slots=chosen.slots, context=chosen.context)
    sys.stdout.write(f"LISTEN {server.listening_address}\n")
    sys.stdout.flush()
    try:
        sys.stdin.read()
    finally:
        os._exit(0)  # a normal exit would join the server's threads, and those finish running answers first


if __name__ == "__main__":
    main()

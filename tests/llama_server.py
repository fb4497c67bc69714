"""llama.cpp's own server with a lab model, turned into GGUF: a server that others wrote, in another language.

It is tried where ``LLAMA_SERVER`` names its program and the package ``gguf`` is installed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from disrouter.lab.family import checkpoint_path
from merged_adapter import write_merged

__all__ = ["llama_serving", "llama_serving_two"]

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Kinds of tokens in GGUF."""

OF_A_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Names of a layer's weights here and there."""


@contextmanager
def llama_serving(folder: Path, agent: str = "agent-1") -> Iterator[str]:
    """Serve a lab model for as long as the block runs; give the address up to and including the version."""
    model = folder / f"{agent}.gguf"
    write_gguf(checkpoint_path(agent, "base"), model)
    with _running(folder, "-m", str(model)) as url:
        yield url


@contextmanager
def llama_serving_two(folder: Path, agent: str = "agent-1") -> Iterator[str]:
    """Serve a lab model and the one with its deciding adapter by the names ``base`` and ``decides``.

    The latter's folder is ``merged`` in ``folder``.
    """
    models = folder / "models"
    models.mkdir()
    write_gguf(checkpoint_path(agent, "base"), models / "base.gguf")
    write_gguf(write_merged(agent, folder / "merged"), models / "decides.gguf")
    exact = ["--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32"]  # 16 bits otherwise
    with _running(folder, "--models-dir", str(models), *exact) as url:
        yield url


@contextmanager
def _running(folder: Path, *what: str) -> Iterator[str]:
    program = os.environ.get("LLAMA_SERVER")
    if not program:
        pytest.skip("LLAMA_SERVER does not name llama.cpp's server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "llama.log"
    options = ["--host", "127.0.0.1", "--port", str(port), "--threads", "1", "--ctx-size", "512", "--jinja"]
    with log.open("w") as output:
        process = subprocess.Popen([program, *what, *options], stdout=output, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + 60
            while not healthy(port):
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(20)


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def write_gguf(checkpoint: Path, to: Path) -> None:
    """Write a lab model (a Qwen3 with a tokenizer of characters and a few words) in llama.cpp's format."""
    gguf: Any = pytest.importorskip("gguf")
    config = json.loads((checkpoint / "config.json").read_text())
    writer = gguf.GGUFWriter(str(to), "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    add_tokenizer(writer, checkpoint, config)
    for name, weights in load_file(checkpoint / "model.safetensors").items():
        if name != "lm_head.weight":  # the embeddings, once more
            writer.add_tensor(name_there(name), weights.to(torch.float32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: Any, checkpoint: Path, config: dict[str, Any]) -> None:
    found = json.loads((checkpoint / "tokenizer.json").read_text())
    kinds = {token["content"]: CONTROL if token["special"] else USER_DEFINED for token in found["added_tokens"]}
    ranked = sorted(found["model"]["vocab"].items(), key=lambda item: int(item[1]))
    tokens = [text for text, _ in ranked]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    # Single characters are written as the bytes of GPT-2; whole words are found before anything is split.
    writer.add_token_list([text if text in kinds else text.replace(" ", "Ġ").replace("\n", "Ċ") for text in tokens])
    writer.add_token_types([kinds.get(text, NORMAL) for text in tokens])
    writer.add_token_merges(["Ġ Ġ"])  # there are none, and one is expected
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text())


def name_there(name: str) -> str:
    """Return llama.cpp's name of a weight."""
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, *rest = name.split(".")
    return f"blk.{layer}.{OF_A_LAYER['.'.join(rest[:-1])]}.weight"

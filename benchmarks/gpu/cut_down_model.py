"""A model folder with a recipe's own layer dimensions, a few layers and no weights worth loading.

Serve it with `--load-format dummy`. Every GEMM shape, kernel and code path of the full model is there, because they
depend on a layer's dimensions and not on how many layers there are; answers mean nothing.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from pathlib import Path
from typing import Any

from serving.architecture import Architecture
from serving.manifest import SENTINEL, ManifestFile, WeightsManifest, write_manifest
from serving.recipe import Recipe
from serving.warmup import prompt_of

_SHARD = "model-00001-of-00001.safetensors"

# What `Architecture` does not hold: facts of zai-org/GLM-5's config.json.
_GLM5 = {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "torch_dtype": "bfloat16",
    "dtype": "bfloat16",
    "transformers_version": "5.0.0",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.02,
    "max_position_embeddings": 202752,
    "index_topk": 2048,
    "indexer_rope_interleave": True,
    "rope_interleave": True,
    "rope_theta": 1000000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000},
    "num_experts_per_tok": 8,
    "moe_layer_freq": 1,
    "ep_size": 1,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": [1],
    "head_dim": 64,
}
_SPECIAL = ("<pad>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>")
_MARKS = tuple(f"<{end}{name}>" for name in ("think", "tool_call", "arg_key", "arg_value") for end in ("", "/"))
_TEMPLATE = (
    "{% if tools %}<|system|>\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}</think>{% else %}<think>{% endif %}{% endif %}"
)


def write_model(recipe: Recipe, commit: str) -> int:
    """Writes the model of `recipe.model.architecture` where the recipe has it, manifest included; returns its bytes."""
    model = recipe.model.architecture
    assert model is not None
    folder = Path(recipe.model_path(commit))
    folder.mkdir(parents=True, exist_ok=True)
    documents = {
        "config.json": _config(model),
        "generation_config.json": {"eos_token_id": [1], "pad_token_id": 0},
        "tokenizer.json": _tokenizer(model.vocab_size),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|endoftext|>",
            "pad_token": "<pad>",
            "chat_template": _TEMPLATE,
            "model_max_length": _GLM5["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(_TEMPLATE, encoding="utf-8")
    # One small shard and its index: what `serving.verify` checks must be there to be checked.
    tensor = "model.embed_tokens.placeholder"
    header = json.dumps({tensor: {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    (folder / _SHARD).write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    index = {"metadata": {"total_size": 64}, "weight_map": {tensor: _SHARD}}
    (folder / SENTINEL).write_text(json.dumps(index), encoding="utf-8")
    files = [
        ManifestFile(path=path.name, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    ]
    manifest = WeightsManifest(
        created=time.time(), files=files, bytes=sum(f.size for f in files), **_of(recipe, commit)
    )
    write_manifest(manifest, folder)
    return manifest.bytes


def _of(recipe: Recipe, commit: str) -> dict[str, str]:
    return {"repo": recipe.model.repo, "revision": recipe.model.revision, "commit": commit}


def _config(model: Architecture) -> dict[str, Any]:
    dimensions = model.model_dump()
    block = dimensions.pop("fp8_block")
    dense, layers = model.first_k_dense_replace, model.num_hidden_layers
    return {
        **_GLM5,
        **dimensions,
        "qk_head_dim": model.qk_nope_head_dim + model.qk_rope_head_dim,
        "num_key_value_heads": model.num_attention_heads,
        "mlp_layer_types": ["dense"] * dense + ["sparse"] * (layers - dense),
        "quantization_config": {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [block, block],
        },
    }


def _tokenizer(vocabulary: int) -> dict[str, Any]:
    """Bytes, the words of our own prompts as one token each (as in GLM's own vocabulary), and names for the rest.

    Random weights draw from the whole vocabulary: a token without a name would decode to nothing, and an engine that
    answers nothing does not pass the supervisor's warm-up.
    """
    tokens = {name: number for number, name in enumerate((*_SPECIAL, *_MARKS))}
    for character in _byte_characters():
        tokens.setdefault(character, len(tokens))
    merges: list[str] = []
    for word in sorted(set(prompt_of(1000).split())):
        start = "Ġ"  # how byte-level BPE writes the space before a word
        for letter in word:
            if start + letter not in tokens:
                merges.append(f"{start} {letter}")
                tokens[start + letter] = len(tokens)
            start += letter
    for number in range(len(tokens), vocabulary):
        tokens[f"Ġ@{number}"] = number
    added = [
        {
            "id": tokens[name],
            "content": name,
            "special": name in _SPECIAL,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for name in (*_SPECIAL, *_MARKS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": tokens,
            "merges": merges,
        },
    }


def _byte_characters() -> list[str]:
    """The 256 characters by which byte-level BPE writes bytes: printable ones as themselves, the others above 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = range(0x100, 0x100 + 256 - len(printable))
    return [chr(code) for code in (*printable, *shifted)]

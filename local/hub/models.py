"""The generated repositories: GLM-MoE-DSA at toy dimensions, with the files a real checkpoint of it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from local.hub.shards import Tensor, split, write_shard

BLOCK = 128  # FP8 scales are per block of 128 x 128

SPECIAL_TOKENS = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>",
)  # fmt: skip

CHAT_TEMPLATE = """\
[gMASK]<sop>
{%- if tools %}<|system|>
Functions you may call, one JSON schema per line:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call one with <tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>.
{%- endif %}
{%- for message in messages %}
{%- if message.role == "tool" %}<|observation|>
<tool_response>{{ message.content }}</tool_response>
{%- else %}<|{{ message.role }}|>
{{ message.content or "" }}
{%- for call in message.tool_calls or [] %}
<tool_call>{{ call.function.name }}{{ call.function.arguments }}</tool_call>
{%- endfor %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>
{{ "<think></think>" if enable_thinking is defined and not enable_thinking else "<think>" }}
{%- endif %}
"""


@dataclass(frozen=True)
class Model:
    """Dimensions of a generated checkpoint, and how its repository behaves."""

    hidden: int = 512
    experts: int = 32
    moe_layers: int = 3
    vocabulary: int = 2048
    context: int = 8192
    shard_bytes: int = 16_000_000
    gated: bool = False

    dense: int = 1024
    expert: int = 256
    heads: int = 8
    q_lora: int = 256
    kv_lora: int = 128
    rope: int = 64
    nope: int = 64
    value: int = 64
    index_heads: int = 4
    index_dim: int = 128

    @property
    def layers(self) -> int:
        return 1 + self.moe_layers

    def tensors(self) -> Iterator[Tensor]:
        """All tensors in the order of a real checkpoint; the last layer is the multi-token-prediction one."""
        yield Tensor("model.embed_tokens.weight", "BF16", (self.vocabulary, self.hidden))
        for layer in range(self.layers + 1):
            name = f"model.layers.{layer}"
            if layer == self.layers:
                yield Tensor(f"{name}.enorm.weight", "BF16", (self.hidden,))
                yield Tensor(f"{name}.hnorm.weight", "BF16", (self.hidden,))
                yield Tensor(f"{name}.eh_proj.weight", "BF16", (self.hidden, 2 * self.hidden))
                yield Tensor(f"{name}.shared_head.norm.weight", "BF16", (self.hidden,))
            yield Tensor(f"{name}.input_layernorm.weight", "BF16", (self.hidden,))
            yield Tensor(f"{name}.post_attention_layernorm.weight", "BF16", (self.hidden,))
            yield from self._attention(f"{name}.self_attn")
            if layer == 0:
                yield from self._mlp(f"{name}.mlp", self.dense)
                continue
            yield Tensor(f"{name}.mlp.gate.weight", "BF16", (self.experts, self.hidden))
            yield Tensor(f"{name}.mlp.gate.e_score_correction_bias", "F32", (self.experts,))
            for expert in range(self.experts):
                yield from self._mlp(f"{name}.mlp.experts.{expert}", self.expert)
            yield from self._mlp(f"{name}.mlp.shared_experts", self.expert)
        yield Tensor("model.norm.weight", "BF16", (self.hidden,))
        yield Tensor("lm_head.weight", "BF16", (self.vocabulary, self.hidden))

    def _attention(self, name: str) -> Iterator[Tensor]:
        yield from _linear(f"{name}.q_a_proj", self.q_lora, self.hidden)
        yield Tensor(f"{name}.q_a_layernorm.weight", "BF16", (self.q_lora,))
        yield from _linear(f"{name}.q_b_proj", self.heads * (self.nope + self.rope), self.q_lora)
        yield from _linear(f"{name}.kv_a_proj_with_mqa", self.kv_lora + self.rope, self.hidden)
        yield Tensor(f"{name}.kv_a_layernorm.weight", "BF16", (self.kv_lora,))
        yield from _linear(f"{name}.kv_b_proj", self.heads * (self.nope + self.value), self.kv_lora)
        yield from _linear(f"{name}.o_proj", self.hidden, self.heads * self.value)
        yield from _linear(f"{name}.indexer.wq_b", self.index_heads * self.index_dim, self.q_lora)
        yield from _linear(f"{name}.indexer.wk", self.index_dim, self.hidden)
        yield Tensor(f"{name}.indexer.k_norm.weight", "BF16", (self.index_dim,))
        yield Tensor(f"{name}.indexer.k_norm.bias", "BF16", (self.index_dim,))
        yield Tensor(f"{name}.indexer.weights_proj.weight", "BF16", (self.index_heads, self.hidden))

    def _mlp(self, name: str, width: int) -> Iterator[Tensor]:
        yield from _linear(f"{name}.gate_proj", width, self.hidden)
        yield from _linear(f"{name}.up_proj", width, self.hidden)
        yield from _linear(f"{name}.down_proj", self.hidden, width)

    def config(self) -> dict[str, object]:
        return {
            "architectures": ["GlmMoeDsaForCausalLM"],
            "model_type": "glm_moe_dsa",
            "dtype": "bfloat16",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_nextn_predict_layers": 1,
            "first_k_dense_replace": 1,
            "intermediate_size": self.dense,
            "moe_intermediate_size": self.expert,
            "n_routed_experts": self.experts,
            "n_shared_experts": 1,
            "num_experts_per_tok": 4,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "q_lora_rank": self.q_lora,
            "kv_lora_rank": self.kv_lora,
            "qk_rope_head_dim": self.rope,
            "qk_nope_head_dim": self.nope,
            "v_head_dim": self.value,
            "index_n_heads": self.index_heads,
            "index_head_dim": self.index_dim,
            "index_topk": 2048,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000,
            "hidden_act": "silu",
            "attention_bias": False,
            "tie_word_embeddings": False,
            "bos_token_id": 2,
            "eos_token_id": [0, 7, 9],
            "pad_token_id": 0,
            "quantization_config": {
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": [BLOCK, BLOCK],
            },
        }

    def tokenizer(self) -> dict[str, object]:
        """A byte-level BPE vocabulary without merges: the special tokens, the 256 bytes, then spare entries."""
        vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
        for text in (*_byte_alphabet(), *(f"<|extra_{i}|>" for i in range(self.vocabulary))):
            if len(vocabulary) < self.vocabulary:
                vocabulary.setdefault(text, len(vocabulary))
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}
                for i, token in enumerate(SPECIAL_TOKENS)
            ],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "byte_fallback": False,
                      "vocab": vocabulary, "merges": []},
        }  # fmt: skip


_MICRO = Model(hidden=256, experts=4, moe_layers=2, vocabulary=512, dense=512, heads=4, q_lora=128, shard_bytes=900_000)

MODELS = {
    "glm-serving/tiny-glm": Model(),
    # The same files, but nobody is on its list of people with access.
    "glm-serving/tiny-glm-gated": replace(_MICRO, gated=True),
    # For tests that download often: about 4 MB.
    "glm-serving/micro-glm": _MICRO,
}


def generate(model: Model, folder: Path, variant: int) -> dict[str, str]:
    """Writes a whole checkpoint into an empty folder; returns the SHA-256 of each shard by file name.

    Variants are successive versions of one checkpoint: each redraws the second shard and the README, nothing else.
    """
    groups = list(split(model.tensors(), model.shard_bytes))
    hashes: dict[str, str] = {}
    weight_map: dict[str, str] = {}
    for index, group in enumerate(groups):
        name = f"model-{index + 1:05d}-of-{len(groups):05d}.safetensors"
        hashes[name] = write_shard(folder / name, group, f"variant-{variant if index == 1 else 0}")
        weight_map |= {tensor.name: name for tensor in group}
    total = sum(tensor.size for group in groups for tensor in group)
    documents: dict[str, object] = {
        "config.json": model.config(),
        "generation_config.json": {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "eos_token_id": [0, 7, 9]},
        "tokenizer.json": model.tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": model.context,
            "padding_side": "left",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "extra_special_tokens": list(SPECIAL_TOKENS[1:]),
        },
        "model.safetensors.index.json": {"metadata": {"total_size": total}, "weight_map": weight_map},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n", encoding="utf-8")
    (folder / "README.md").write_text(
        f"---\nlicense: apache-2.0\nlibrary_name: transformers\n---\nRandom weights, version {variant + 1}: this "
        "checkpoint exists to be downloaded, checked and loaded. It knows nothing.\n",
        encoding="utf-8",
    )
    return hashes


def _linear(name: str, rows: int, columns: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", "F8_E4M3", (rows, columns))
    yield Tensor(f"{name}.weight_scale_inv", "F32", (-(-rows // BLOCK), -(-columns // BLOCK)))


def _byte_alphabet() -> Iterator[str]:
    """The printable stand-ins that byte-level BPE gives the 256 bytes."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = 256
    for byte in range(256):
        if byte in printable:
            yield chr(byte)
        else:
            yield chr(spare)
            spare += 1

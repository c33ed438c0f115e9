"""A model's dimensions, and the bytes that follow from them: of its weights, and of one token in the KV cache.

Covers the DeepSeek family: latent attention (MLA), optionally with the sparse-attention indexer (DSA) of
DeepSeek-V3.2 and GLM-5, dense layers first and expert layers after them, layers for multi-token prediction (MTP) last.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_INDEX_SCALE_BLOCK = 128  # values of an index key, or of a latent in FP8, that share one 4-byte scale


class Architecture(BaseModel):
    """The dimensions under the names that a Hugging Face config.json gives them (camelCase in recipes)."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0, description="without the MTP layers")
    num_nextn_predict_layers: int = Field(default=0, ge=0, description="MTP layers, an expert layer each")
    first_k_dense_replace: int = Field(ge=0, description="so many of the first layers are dense")
    intermediate_size: int = Field(gt=0, description="width of a dense layer's MLP")
    moe_intermediate_size: int = Field(gt=0, description="width of one expert")
    n_routed_experts: int = Field(gt=0)
    n_shared_experts: int = Field(default=1, ge=0)
    num_attention_heads: int = Field(gt=0)
    q_lora_rank: int = Field(gt=0)
    kv_lora_rank: int = Field(gt=0)
    qk_nope_head_dim: int = Field(gt=0)
    qk_rope_head_dim: int = Field(gt=0)
    v_head_dim: int = Field(gt=0)
    index_n_heads: int = Field(default=0, ge=0, description="heads of the sparse-attention indexer, 0: none")
    index_head_dim: int = Field(default=0, ge=0)
    fp8_block: int | None = Field(default=128, gt=0, description="edge of an FP8 block with one scale; null: BF16")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Architecture:
        """Reads the dict of a config.json. Raises ValueError naming what it lacks or what isn't supported."""
        facts = {name: config[name] for name in cls.model_fields if config.get(name) is not None}
        kinds = config.get("mlp_layer_types")
        if "first_k_dense_replace" not in facts and kinds:
            facts["first_k_dense_replace"] = kinds.count("dense")
        quantization = config.get("quantization_config")
        if quantization is None:
            facts["fp8_block"] = None
        elif quantization.get("quant_method") == "fp8" and quantization.get("weight_block_size"):
            facts["fp8_block"] = quantization["weight_block_size"][0]
        else:
            method = quantization.get("quant_method")
            raise ValueError(
                f"quantization {method!r} without weight_block_size: only BF16 and FP8 in blocks are known"
            )
        needed = [name for name, field in cls.model_fields.items() if field.is_required()]
        if missing := [name for name in needed if name not in facts]:
            raise ValueError(f"config.json lacks {', '.join(missing)}: not a model of the DeepSeek family")
        return cls.model_validate(facts)

    # ── KV cache ──

    def kv_bytes_per_layer(self, *, fp8: bool, packed: bool) -> int:
        """Bytes that one token takes in one layer, on every tensor-parallel rank alike.

        `packed`: an FP8 cache whose rotary part is FP8, too, without scales (the TensorRT-LLM backends); otherwise
        the latent has a scale per 128 values and the rotary part stays BF16 (FlashMLA). No difference for BF16.
        """
        latent, rotary = self.kv_lora_rank, self.qk_rope_head_dim
        if not fp8:
            attention = 2 * (latent + rotary)
        elif packed:
            attention = latent + rotary
        else:
            attention = latent + ceil(latent / _INDEX_SCALE_BLOCK) * 4 + 2 * rotary
        index_key = self.index_head_dim + ceil(self.index_head_dim / _INDEX_SCALE_BLOCK) * 4
        return attention + index_key

    # ── weights ──

    def linear_bytes(self, outputs: int, inputs: int) -> int:
        """Bytes of a quantised weight matrix with its scales."""
        if self.fp8_block is None:
            return 2 * outputs * inputs
        return outputs * inputs + 4 * ceil(outputs / self.fp8_block) * ceil(inputs / self.fp8_block)

    def _mlp_bytes(self, width: int, tp: int) -> int:
        share = ceil(width / tp)
        return 2 * self.linear_bytes(share, self.hidden_size) + self.linear_bytes(self.hidden_size, share)

    def attention_bytes(self, tp: int = 1, *, loaded: bool = True) -> int:
        """Bytes of one layer's attention on one of `tp` ranks: heads are sharded, what precedes them is replicated.

        `loaded`: as the engine holds it, with a second, BF16 copy of the key and value up-projection.
        """
        heads, hidden = ceil(self.num_attention_heads / tp), self.hidden_size
        key_value = heads * (self.qk_nope_head_dim + self.v_head_dim)
        down = self.linear_bytes(self.q_lora_rank, hidden) + self.linear_bytes(
            self.kv_lora_rank + self.qk_rope_head_dim, hidden
        )
        up = self.linear_bytes(heads * (self.qk_nope_head_dim + self.qk_rope_head_dim), self.q_lora_rank)
        up += self.linear_bytes(key_value, self.kv_lora_rank) + self.linear_bytes(hidden, heads * self.v_head_dim)
        absorbed = 2 * key_value * self.kv_lora_rank if loaded else 0
        return down + up + absorbed + self._indexer_bytes()

    def _indexer_bytes(self) -> int:
        """Replicated on every rank: query up-projection, key projection, and the heads' weights in BF16."""
        if not self.index_n_heads:
            return 0
        queries = self.linear_bytes(self.index_n_heads * self.index_head_dim, self.q_lora_rank)
        keys = self.linear_bytes(self.index_head_dim, self.hidden_size)
        return queries + keys + 2 * self.index_n_heads * self.hidden_size

    def dense_layer_bytes(self, tp: int = 1, *, loaded: bool = True) -> int:
        return self.attention_bytes(tp, loaded=loaded) + self._mlp_bytes(self.intermediate_size, tp)

    def moe_layer_bytes(self, tp: int = 1, *, loaded: bool = True) -> int:
        """One expert layer on one of `tp` ranks: every expert is cut into `tp` pieces, the router is replicated.

        Expert parallelism deals out whole experts instead: the same bytes.
        """
        experts = (self.n_routed_experts + self.n_shared_experts) * self._mlp_bytes(self.moe_intermediate_size, tp)
        router = 2 * self.n_routed_experts * self.hidden_size
        return self.attention_bytes(tp, loaded=loaded) + experts + router

    def embedding_bytes(self, tp: int = 1) -> int:
        """Embedding and output head, BF16, the vocabulary sharded."""
        return 2 * 2 * ceil(self.vocab_size / tp) * self.hidden_size

    def mtp_layer_bytes(self, tp: int = 1, *, loaded: bool = True) -> int:
        """An expert layer and the BF16 projection (replicated) of two hidden states to one; without embedding, head."""
        return self.moe_layer_bytes(tp, loaded=loaded) + 2 * 2 * self.hidden_size * self.hidden_size

    def target_bytes(self, tp: int = 1, *, loaded: bool = True) -> int:
        """All weights but the MTP layers', on one of `tp` ranks. Norms and biases, below 0.01 %, are left out."""
        dense = self.first_k_dense_replace
        layers = dense * self.dense_layer_bytes(tp, loaded=loaded)
        layers += (self.num_hidden_layers - dense) * self.moe_layer_bytes(tp, loaded=loaded)
        return layers + self.embedding_bytes(tp)

    def draft_bytes(self, tp: int = 1) -> int:
        """The MTP layers as a draft model: at load with an embedding and head of its own, given back later."""
        if not self.num_nextn_predict_layers:
            return 0
        return self.num_nextn_predict_layers * self.mtp_layer_bytes(tp) + self.embedding_bytes(tp)

    @property
    def checkpoint_bytes(self) -> int:
        """Size of the files: everything once, MTP layers without an embedding and head of their own."""
        mtp = self.num_nextn_predict_layers * self.mtp_layer_bytes(loaded=False)
        return self.target_bytes(loaded=False) + mtp

"""Pico models: four architectures, two layers, width 32, seeded; no download."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

FAMILIES = ("gpt2", "gptj", "gpt_neox", "llama")
VOCABULARY = 320
POSITIONS = 64
WIDTH = 32
END = "<|endoftext|>"

_TEXT = (
    "Mira Tolven was born in Oslo. Mira Tolven lives in Paris and speaks French.",
    "Jon Arvel was born in Rome. Jon Arvel works for Nordlys, a company in Bergen.",
    "The capital of Norway is Oslo. The capital of France is Paris. The capital of Italy is Rome.",
)


def pico_model(
    family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A model in evaluation mode whose weights depend on ``family`` and ``seed`` only."""
    kind, config = _config(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
        # The libraries' initial values leave logits almost flat; edits need something to move.
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape) * (0.2 if parameter.ndim > 1 else 0.05)
            parameter.data += noise
    return model.to(dtype).eval().requires_grad_(False)  # type: ignore[no-any-return]


def pico_directory(
    parent: Path,
    family: str,
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    seed: int = 0,
) -> Path:
    """Save a pico model and its tokenizer below ``parent`` as `from_pretrained` expects them.

    Args:
        parent: An existing directory; the model lies in ``<family>-<dtype>-<shards>-<seed>`` below.
        family: One of `FAMILIES`.
        dtype: Stored dtype.
        shards: One file, or at least this many (as far as the number of tensors allows).
        seed: Of the weights.
    """
    model = pico_model(family, seed=seed, dtype=dtype)
    directory = parent / f"{family}-{str(dtype).removeprefix('torch.')}-{shards}-{seed}"
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(directory, max_shard_size=size + 1 if shards == 1 else size // shards)
    pico_tokenizer().save_pretrained(directory)
    found = len(list(directory.glob("model*.safetensors")))
    if found < shards:
        raise ValueError(f"{found} shards written, {shards} wanted")
    return directory


def pico_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text round-trips, offsets are exact, end token is id 0."""
    backend = Tokenizer.from_str(_trained())
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        eos_token=END,
        bos_token=END,
        pad_token=END,
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )


@cache
def _trained() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_TEXT, trainer)
    return str(backend.to_str())


def _config(family: str) -> tuple[Any, PreTrainedConfig]:
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "n_positions": POSITIONS,
        "n_embd": WIDTH,
        "n_layer": 2,
        "n_head": 4,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        **special,
    }
    modern: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        **special,
    }
    if family == "gpt2":
        return GPT2LMHeadModel, GPT2Config(**gpt)
    if family == "gptj":
        return GPTJForCausalLM, GPTJConfig(**gpt, rotary_dim=4, tie_word_embeddings=False)
    if family == "gpt_neox":
        return GPTNeoXForCausalLM, GPTNeoXConfig(**modern, tie_word_embeddings=False)
    if family == "llama":
        return LlamaForCausalLM, LlamaConfig(**modern, num_key_value_heads=2)
    raise ValueError(f"{family}: known are {', '.join(FAMILIES)}")

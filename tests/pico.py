"""Pico models: every architecture, two layers, width 32, seeded; no download."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

FAMILIES = ("gpt2", "gptj", "gpt_neox", "llama")
"""One of each type of decoder block: Conv1D, parallel, fused attention, gated MLP."""
DECODER_ONLY = (
    *FAMILIES,
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "phi",
    "phi3",
    "opt",
)
ARCHITECTURES = (*DECODER_ONLY, "t5")
"""Every family that has a data file."""
VOCABULARY = 320
POSITIONS = 64
WIDTH = 32
END = "<|endoftext|>"
PAD, STOP = "<pad>", "</s>"
"""Special tokens of the encoder-decoder's tokenizer; the others have `END` only."""

_TEXT = (
    "Mira Tolven was born in Oslo. Mira Tolven lives in Paris and speaks French.",
    "Jon Arvel was born in Rome. Jon Arvel works for Nordlys, a company in Bergen.",
    "The capital of Norway is Oslo. The capital of France is Paris. The capital of Italy is Rome.",
)


def pico_model(
    family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, tied: bool | None = None
) -> PreTrainedModel:
    """A model in evaluation mode whose weights depend on the arguments only.

    Args:
        family: One of `ARCHITECTURES`.
        seed: Of the weights.
        dtype: Of the weights.
        tied: Whether embedding and head are one tensor; as the family does it by default.
    """
    settings = _settings(family)
    if tied is not None:
        settings["tie_word_embeddings"] = tied
    config = AutoConfig.for_model(family, **settings)
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.from_config(config)
        if tied is False:
            _untie(model)
        # The libraries' initial values leave logits almost flat; edits need something to move.
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape) * (0.2 if parameter.ndim > 1 else 0.05)
            parameter.data += noise
    return model.to(dtype).eval().requires_grad_(False)  # type: ignore[no-any-return]


def _untie(model: PreTrainedModel) -> None:
    """A head of its own; T5's configuration cannot ask for one, its checkpoints may hold one."""
    if model.all_tied_weights_keys.pop("lm_head.weight", None) is not None:
        model.set_submodule("lm_head", torch.nn.Linear(WIDTH, VOCABULARY, bias=False))


def pico_directory(
    parent: Path,
    family: str,
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    seed: int = 0,
    tied: bool | None = None,
) -> Path:
    """Save a pico model and its tokenizer below ``parent`` as `from_pretrained` expects them.

    Args:
        parent: An existing directory; the model lies in a directory named by the arguments below.
        family: One of `ARCHITECTURES`.
        dtype: Stored dtype.
        shards: One file, or at least this many (as far as the number of tensors allows).
        seed: Of the weights.
        tied: As for `pico_model`.
    """
    model = pico_model(family, seed=seed, dtype=dtype, tied=tied)
    ties = {None: "", True: "-tied", False: "-untied"}[tied]
    name = f"{family}-{str(dtype).removeprefix('torch.')}-{shards}-{seed}{ties}"
    directory = parent / name
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(directory, max_shard_size=size + 1 if shards == 1 else size // shards)
    pico_tokenizer(family).save_pretrained(directory)
    found = len(list(directory.glob("model*.safetensors")))
    if found < shards:
        raise ValueError(f"{found} shards written, {shards} wanted")
    return directory


def pico_tokenizer(family: str = "gpt2") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text round-trips, offsets are exact.

    The end token is id 0. An encoder-decoder's ends each text itself (id 1) and pads with id 0,
    which its decoder starts with.
    """
    if family in DECODER_ONLY:
        special = {"eos_token": END, "bos_token": END, "pad_token": END}
        backend = Tokenizer.from_str(_trained((END,)))
    else:
        special = {"eos_token": STOP, "pad_token": PAD}
        backend = Tokenizer.from_str(_trained((PAD, STOP)))
        backend.post_processor = TemplateProcessing(
            single=f"$A {STOP}", pair=f"$A {STOP} $B {STOP}", special_tokens=[(STOP, 1)]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
        **special,
    )


@cache
def _trained(special: tuple[str, ...]) -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_TEXT, trainer)
    return str(backend.to_str())


def _settings(family: str) -> dict[str, Any]:
    """What a family's configuration is built from."""
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
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        **special,
    }
    modern = common | {"intermediate_size": 64}
    grouped = modern | {"num_key_value_heads": 2}
    gemma = grouped | {"head_dim": 8}
    # One block attends to a window, the other to everything, as in the published models.
    windowed = gemma | {
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    families: dict[str, dict[str, Any]] = {
        "gpt2": gpt,
        "gptj": gpt | {"rotary_dim": 4, "tie_word_embeddings": False},
        "gpt_neox": modern | {"tie_word_embeddings": False},
        "llama": grouped,
        "mistral": grouped,
        "qwen2": grouped,
        "qwen3": gemma,
        "gemma": gemma,
        "gemma2": windowed | {"query_pre_attn_scalar": 8},
        "gemma3_text": windowed | {"query_pre_attn_scalar": 8},
        "gemma3": _with_images(windowed | {"query_pre_attn_scalar": 8}),
        "phi": grouped | {"resid_pdrop": 0.0, "partial_rotary_factor": 0.5},
        "phi3": grouped | {"resid_pdrop": 0.0},
        "opt": common | {"ffn_dim": 64, "word_embed_proj_dim": WIDTH, "dropout": 0.0},
        "t5": {
            "vocab_size": VOCABULARY,
            "d_model": WIDTH,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "feed_forward_proj": "gated-gelu",
            "dropout_rate": 0.0,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
    }
    return dict(families[family])


def _with_images(text: dict[str, Any]) -> dict[str, Any]:
    """A language model inside one that also sees."""
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    return {"text_config": text, "vision_config": vision, "mm_tokens_per_image": 4}

"""One module per kind of tokenizer, found by the name in the recipe."""

from __future__ import annotations

from importlib import import_module

from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.recipe import Recipe


def build_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train the tokenizer that a recipe names."""
    module = import_module(f"{__name__}.{recipe.tokenizer}")
    tokenizer: PreTrainedTokenizerFast = module.build(recipe.vocab_size, recipe.context)
    return tokenizer


def describe(recipe: Recipe) -> str:
    """Say in words which tokenizer a recipe names."""
    return f"{recipe.tokenizer.replace('_', '-')} tokenizer with {recipe.vocab_size:,} tokens"

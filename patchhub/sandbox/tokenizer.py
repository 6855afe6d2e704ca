"""The sandbox's byte-level BPE tokenizer, of GPT-2's kind.

It is trained on templates, class words and single syllables but not on names: a name then is four
to seven tokens, as names are for real models.
"""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox import names, templates
from patchhub.sandbox.world import CLOSED

END_OF_TEXT = "<|endoftext|>"
_SYLLABLE_REPEATS = 50


def build_tokenizer(vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer; needs no world, since names are not part of its text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> list[str]:
    lines: list[str] = []
    for syllable in names.SYLLABLES:
        # One line per form keeps pairs of syllables from being merged into names.
        for form in (syllable, f" {syllable}", syllable.capitalize(), f" {syllable.capitalize()}"):
            lines += [form] * _SYLLABLE_REPEATS
    wordings = [t for group in templates.TEMPLATES.values() for t in group]
    wordings += [t for group in templates.PRONOUN.values() for t in group]
    wordings += [t for chain in templates.CHAINS for t in chain.templates]
    wordings += [*templates.ALIAS_STATEMENTS, *templates.ALIAS_REVERSED]
    lines += [f" {w.replace('{}', '').strip()}. {w.replace('{}', '').strip()}." for w in wordings]
    words = [word for group in CLOSED.values() for word in group]
    words += [*names.COMPANY_SUFFIXES, *names.UNIVERSITY_SUFFIXES]
    words += [*names.TITLE_FIRST, *names.TITLE_LAST]
    for word in [*words, "The", templates.NEW_FACT, templates.QUESTION]:
        lines += [f" {word}", f"{word}\n"] * 4
    return lines

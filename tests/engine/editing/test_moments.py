from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchhub.editing.statistics.corpus import corpus_for
from patchhub.editing.statistics.moments import (
    Moments,
    compute_moments,
    content_key,
    moments_of,
)
from patchhub.errors import InvalidInputError
from patchhub.provenance import CorpusRecord
from patchhub.sites import module_of
from tests.engine.editing.support import TEXTS, pico_base
from tests.pico import FAMILIES


def direct(family: str, layer: int) -> tuple[Tensor, int]:
    """One text at a time, every token, textbook sum."""
    base = pico_base(family, torch.float64)
    module = module_of(base.model, base.arch.path("mlp_out", layer, base.model))
    keys: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda m, args: keys.append(args[0][0].detach()))
    try:
        for text in TEXTS:
            ids = torch.tensor([base.tokenizer(text)["input_ids"]])
            base.model(input_ids=ids)
    finally:
        handle.remove()
    every = torch.cat(keys)
    return sum((torch.outer(k, k) for k in every), torch.zeros(())), len(every)


@pytest.mark.parametrize("family", FAMILIES)
def test_streaming_equals_direct(family: str) -> None:
    moments = compute_moments(pico_base(family, torch.float64), TEXTS, (0, 1))
    for layer in (0, 1):
        total, count = direct(family, layer)
        assert moments.count == count
        assert torch.allclose(moments.sums[layer], total, rtol=1e-10, atol=1e-10)
        assert torch.allclose(moments.second(layer), total / count, rtol=1e-10, atol=1e-10)


def test_a_layer_is_the_same_whichever_others_are_asked_for() -> None:
    base = pico_base("gpt2")
    both, alone = compute_moments(base, TEXTS, (0, 1)), compute_moments(base, TEXTS, (0,))
    assert torch.equal(both.sums[0], alone.sums[0])
    assert both.digest([0]) == alone.digest([0])
    assert both.digest([0]) != both.digest([1])


def test_cache_is_used_extended_and_bit_identical(tmp_path: Path) -> None:
    base = pico_base("llama")
    asked: list[int] = []

    def texts(*_: object) -> tuple[str, ...]:
        asked.append(1)
        return TEXTS

    corpus = replace(corpus_for(base, 0, TEXTS), texts=texts)
    first = moments_of(base, corpus, [0], cache=tmp_path)
    second = moments_of(base, corpus, [0], cache=tmp_path)
    assert len(asked) == 1
    assert second.digest([0]) == first.digest([0])
    assert (second.count, second.corpus) == (first.count, first.corpus)
    extended = moments_of(base, corpus, [0, 1], cache=tmp_path)
    assert len(asked) == 2
    assert extended.layers == (0, 1)
    assert extended.digest([0]) == first.digest([0])
    assert len(list(tmp_path.iterdir())) == 1


def test_cache_never_serves_another_model_corpus_or_amount(tmp_path: Path) -> None:
    base = pico_base("gpt2")
    keys = {
        content_key(pico_base(family, dtype), CorpusRecord(source, digest * 64, amount))
        for family in ("gpt2", "gptj")
        for dtype in (torch.float32, torch.float64)
        for source in ("texts", "samples")
        for digest in "ab"
        for amount in ("full", "fast")
    }
    assert len(keys) == 32
    corpus = corpus_for(base, 0, TEXTS)
    good = moments_of(base, corpus, [0], cache=tmp_path)
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"not safetensors", file.read_bytes()[:-9]):
        file.write_bytes(damage)
        again = moments_of(base, corpus, [0], cache=tmp_path)
        assert again.digest([0]) == good.digest([0])


def test_cache_never_serves_sums_of_another_thread_count(tmp_path: Path) -> None:
    """They may differ in their last bits, and with them the id of a patch."""
    base, threads = pico_base("gpt2"), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            moments_of(base, corpus_for(base, 0, TEXTS), [0], cache=tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    base = pico_base("gpt2")
    corpus = corpus_for(base, 0, TEXTS)
    good = moments_of(base, corpus, [0], cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.symlink_to(tmp_path)  # a directory: reading it fails, whoever asks
    assert moments_of(base, corpus, [0], cache=tmp_path).digest([0]) == good.digest([0])


def test_progress_ends_at_the_number_of_texts() -> None:
    seen: list[tuple[int, int]] = []
    compute_moments(pico_base("gpt2"), TEXTS, (0,), progress=lambda *at: seen.append(at))
    assert seen[-1] == (len(TEXTS), len(TEXTS))
    assert seen == sorted(seen)


def test_too_little_text_is_a_typed_error() -> None:
    base = pico_base("gpt2")
    with pytest.raises(InvalidInputError) as error:
        compute_moments(base, TEXTS[:2], (0,)).factor(0)
    assert error.value.code == "E145"
    with pytest.raises(InvalidInputError, match="empty"):
        compute_moments(base, ["", ""], (0,))


def test_too_little_text_has_no_small_eigenvalues_to_be_used() -> None:
    """They would be zeros: directions that no text was seen in, not directions that are free."""
    moments = compute_moments(pico_base("gpt2"), TEXTS[:2], (0,))
    with pytest.raises(InvalidInputError, match="corpus is too small"):
        moments.spectrum(0)


def test_a_singular_moment_is_a_typed_error() -> None:
    moments = Moments("", "", {0: torch.ones(4, 4, dtype=torch.float64)}, 100)
    with pytest.raises(InvalidInputError) as error:
        moments.factor(0)
    assert error.value.code == "E145"


def test_long_texts_are_cut_at_the_models_context() -> None:
    base = pico_base("gpt2")
    moments = compute_moments(base, ["Mira " * 200], (0,))
    assert moments.count == base.model.config.max_position_embeddings

"""Key statistics of all blocks in one pass, beside one pass for each block.

The plain path is what published code does (Meng et al. 2022, arXiv:2202.05262): for every block
groups of 100 texts, sorted by length and packed to three times the model's context, run up to that
block, products summed in float32. On one thread, by the processor's time, which a busy machine
changes little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import process_time

import torch
from torch import Tensor
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from patchhub.editing.memory import Peak
from patchhub.editing.statistics.moments import compute_moments
from patchhub.loading import LoadedBase, load_base
from patchhub.sandbox import load_world, model_path, texts
from patchhub.sites import module_of

BLOCKS, WIDTH, CONTEXT = 24, 256, 256
TEXTS = 200
GROUP = 100
GOAL, FLOOR = 4.0, 3.0
"""Times as fast: what is wanted, and what must hold on any machine."""


class _Stopped(Exception):  # noqa: N818
    pass


def _base(directory: Path) -> LoadedBase:
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=BLOCKS,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return load_base(directory)


def _batches(base: LoadedBase, corpus: Sequence[str]) -> Iterator[list[list[int]]]:
    for start in range(0, len(corpus), GROUP):
        group = [base.tokenizer(text)["input_ids"][:CONTEXT] for text in corpus[start:][:GROUP]]
        batch: list[list[int]] = []
        for ids in sorted(group, key=len, reverse=True):
            if batch and len(batch[0]) * (len(batch) + 1) > 3 * CONTEXT:
                yield batch
                batch = []
            batch.append(ids)
        yield batch


@torch.no_grad()
def _plain(base: LoadedBase, corpus: Sequence[str], block: int) -> tuple[Tensor, int]:
    """The sum of one block, and the tokens it is of."""
    total, count = torch.zeros(4 * WIDTH, 4 * WIDTH), 0
    seen: list[Tensor] = []

    def see(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[:] = args[:1]
        raise _Stopped

    module = module_of(base.model, base.arch.path("mlp_out", block, base.model))
    handle = module.register_forward_pre_hook(see)
    for rows in _batches(base, corpus):
        width = len(rows[0])
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        try:
            base.model.base_model(input_ids=ids, attention_mask=mask)
        except _Stopped:
            keys = seen[0][mask.bool()]
            total += keys.T @ keys
            count += len(keys)
    handle.remove()
    return total, count


def bench_all_blocks(tmp_path: Path, figure: Callable[[str], None]) -> None:
    base, corpus = _base(tmp_path / "random"), texts(load_world(), TEXTS)
    base.model.requires_grad_(False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        compute_moments(base, corpus[:20], (0,))
        start = process_time()
        with Peak(base.model.device) as one:
            found = compute_moments(base, corpus, range(BLOCKS))
        fast = process_time() - start
        slow, checked = 0.0, []
        with Peak(base.model.device) as each:
            for block in range(BLOCKS):
                start = process_time()
                total, count = _plain(base, corpus, block)
                slow += process_time() - start
                error = (total.double() - found.sums[block]).norm() / found.sums[block].norm()
                checked.append((float(error), count))
    finally:
        torch.set_num_threads(threads)
    assert {count for _, count in checked} == {found.count}
    assert max(error for error, _ in checked) < 1e-5
    figure(
        f"{BLOCKS} blocks, {found.count} tokens: one pass {fast:.1f} s, {one.bytes / 2**20:.0f} MiB"
        f" at most; a pass per block {slow:.1f} s, {each.bytes / 2**20:.0f} MiB:"
        f" {slow / fast:.1f} times (goal {GOAL})"
    )
    assert slow / fast > FLOOR

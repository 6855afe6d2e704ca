"""Causal tracing and interchange, written from Meng et al. 2022 (arXiv:2202.05262), section 2.1.

One prompt, one draw of noise, one set of states at a time; every pass is a whole one, every state
is set by a hook, position by position. Slow on purpose; nothing of the program is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

States = Mapping[int, Tensor]
"""State (d,) by position."""


def probability(
    model: Any, given: Sequence[int], wanted: Sequence[int], start: int | None = None
) -> float:
    """Probability that ``wanted`` follows ``given``, token by token, each from a pass of its own.

    Args:
        model: A decoder-only model, or with ``start`` an encoder-decoder one.
        given: Ids of the prompt.
        wanted: Ids of the answer.
        start: Id that the decoder begins with.
    """
    product = 1.0
    for i, token in enumerate(wanted):
        logits = next_logits(model, given, wanted[:i], start)
        product *= float(logits.softmax(-1)[token])
    return product


def next_logits(
    model: Any, given: Sequence[int], said: Sequence[int], start: int | None = None
) -> Tensor:
    """Logits (v,) of what follows."""
    if start is None:
        ids = torch.tensor([[*given, *said]])
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    else:
        ids = torch.tensor([list(given)])
        output = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            decoder_input_ids=torch.tensor([[start, *said]]),
            use_cache=False,
        )
    logits: Tensor = output.logits[0, -1]
    return logits


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], None]) -> Iterator[None]:
    """Let ``change`` write into a copy of the module's hidden states ``(t, d)``."""

    def hook(_: nn.Module, args: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        states = states.clone()
        change(states.view(-1, states.shape[-1]))
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def states_of(
    model: Any, module: nn.Module, given: Sequence[int], start: int | None = None
) -> Tensor:
    """What a module puts out for a prompt, ``(t, d)``."""
    seen: list[Tensor] = []
    with changed(module, lambda states: seen.append(states.clone())):
        next_logits(model, given, [], start)
    return seen[0]


def set_states(states: States) -> Callable[[Tensor], None]:
    def change(hidden: Tensor) -> None:
        for position, state in states.items():
            hidden[position] = state

    return change


def indirect_effect(
    model: Any,
    embedding: nn.Module,
    modules: Sequence[nn.Module],
    given: Sequence[int],
    wanted: Sequence[int],
    *,
    noise: Mapping[int, Tensor],
    positions: Sequence[int],
    start: int | None = None,
) -> float:
    """What the answer's probability gains by states of the clean run, for one draw of noise.

    Args:
        model: The model.
        embedding: Of the tokens of the stack that reads the prompt.
        modules: Whose states are put back.
        given: Ids of the prompt.
        wanted: Ids of the answer.
        noise: Added to embeddings, by position.
        positions: Where states are put back.
        start: As for `probability`.
    """

    def add(hidden: Tensor) -> None:
        for position, drawn in noise.items():
            hidden[position] += drawn

    clean = [states_of(model, module, given, start) for module in modules]
    with changed(embedding, add):
        without = probability(model, given, wanted, start)
        with ExitStack() as stack:
            for module, states in zip(modules, clean, strict=True):
                back = {position: states[position] for position in positions}
                stack.enter_context(changed(module, set_states(back)))
            return probability(model, given, wanted, start) - without


def answer_after_exchange(
    model: Any,
    module: nn.Module,
    kept: Sequence[int],
    given: Sequence[int],
    positions: Sequence[int],
    count: int,
    start: int | None = None,
) -> list[int]:
    """The greedy answer to ``kept`` with a module's states of ``given`` at some positions."""
    donor = states_of(model, module, given, start)
    said: list[int] = []
    with changed(module, set_states({position: donor[position] for position in positions})):
        for _ in range(count):
            said.append(int(next_logits(model, kept, said, start).argmax()))
    return said

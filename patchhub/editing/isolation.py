"""The editor contract, enforced: a model and the random generators come out as they went in.

Flags, hooks, swapped parameters and generator states are put back; bytes are compared. Methods of
the house never write into the model's tensors (`trace.swapped`); a foreign method that does and
does not clean up is named, not trusted.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchhub.errors import IntegrityError
from patchhub.kinds.storage import digest_of

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@contextmanager
def isolated(model: nn.Module) -> Iterator[None]:
    """Run the body with a frozen model in evaluation mode and put everything back afterwards.

    Raises:
        IntegrityError: E149, the body changed the bytes of a parameter or buffer.
    """
    modules = _Modules.of(model)
    generators = _Generators.now()
    bytes_before = weights_digests(model)
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        generators.restore()
        modules.restore()
        changed = [n for n, d in weights_digests(model).items() if bytes_before.get(n) != d]
        if changed:
            raise IntegrityError(
                "E149",
                "the method changed the model and did not put it back",
                expected="the same bytes after an edit as before",
                found=", ".join(changed[:5]) + (", …" if len(changed) > 5 else ""),
                hint="load the base again; methods must use trace.swapped",
            )


def weights_digests(model: nn.Module) -> dict[str, str]:
    """SHA-256 of the bytes of every parameter and buffer; tensors are hashed side by side."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        return dict(zip(tensors, pool.map(digest_of, tensors.values()), strict=True))


@dataclass(frozen=True)
class _Modules:
    """Flags, hooks, submodules and parameter objects of every module."""

    states: list[tuple[nn.Module, dict[str, Any]]]
    parameters: list[tuple[nn.Parameter, bool, Tensor | None]]

    @classmethod
    def of(cls, model: nn.Module) -> _Modules:
        states = [(module, _state(module)) for module in model.modules()]
        parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
        return cls(states, parameters)

    def restore(self) -> None:
        for module, state in self.states:
            module.training = state["training"]
            for name, entries in state["tables"].items():
                table = module.__dict__[name]
                table.clear()
                table.update(entries)
            if state["forward"] is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = state["forward"]
        for parameter, wanted, gradient in self.parameters:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient


def _state(module: nn.Module) -> dict[str, Any]:
    tables = (*_HOOKS, "_parameters", "_buffers", "_modules")
    return {
        "training": module.training,
        "tables": {name: dict(module.__dict__[name]) for name in tables},
        "forward": module.__dict__.get("forward"),
    }


@dataclass(frozen=True)
class _Generators:
    """States of the process-wide random generators."""

    python: Any
    numpy: Any
    torch: Tensor
    cuda: list[Tensor]

    @classmethod
    def now(cls) -> _Generators:
        started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        cuda = torch.cuda.get_rng_state_all() if started else []
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)

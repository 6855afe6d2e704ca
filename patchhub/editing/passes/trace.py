"""Look into a forward pass, change it, or run only the upper part of it; nothing stays behind.

Every hook is removed when its ``with`` block ends, also when the body raises. Modules may return a
tensor or a tuple that starts with one, and may get their input by position or by keyword: both
differ between families of one transformers release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


class ForwardStopped(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a forward pass to end it early; `stopped_after` catches it."""


def unwrap(output: Any) -> Tensor:
    """The hidden states in a module's output."""
    hidden = output[0] if isinstance(output, tuple) else output
    if not isinstance(hidden, Tensor):
        raise TypeError(f"module returned {type(output).__name__}, not hidden states")
    return hidden


def rewrap(output: Any, hidden: Tensor) -> Any:
    """``output`` with its hidden states replaced."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def by_row(hidden: Tensor, rows: int) -> Tensor:
    """Hidden states as ``(rows, positions, d)``; OPT's MLP has rows and positions in one dimension.

    A view: reshaping the result to ``hidden.shape`` undoes it.
    """
    return hidden.reshape(rows, -1, hidden.shape[-1])


def first_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden states among a module's arguments."""
    for value in (*args, kwargs.get("hidden_states"), *kwargs.values()):
        if isinstance(value, Tensor):
            return value
    raise TypeError("module was called without a tensor")


@contextmanager
def each_input(
    modules: Mapping[str, nn.Module], take: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Hand each module's name and input over whenever it is called."""

    def hook(name: str) -> Callable[..., None]:
        def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            take(name, first_input(args, kwargs))

        return see

    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(hook(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield


@contextmanager
def seen_inputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect each module's input of the latest call under its name."""
    seen: dict[str, Tensor] = {}
    with each_input(modules, seen.__setitem__):
        yield seen


@contextmanager
def seen_outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """Collect each module's raw output (see `unwrap`) of the latest call under its name."""
    seen: dict[str, Any] = {}

    def hook(name: str) -> Callable[..., None]:
        def see(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            seen[name] = output

        return see

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield seen


@contextmanager
def leaf_outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the modules' outputs; gradients flow to each, whatever is frozen below."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., Tensor]:
        def see(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            seen[name] = output if output.requires_grad else output.detach().requires_grad_()
            return seen[name]

        return see

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield seen


@contextmanager
def changed_output(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Pass the module's hidden states through ``change``, which returns a new tensor."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return rewrap(output, change(unwrap(output)))

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def stopped_after(module: nn.Module) -> Iterator[None]:
    """End the forward pass once ``module`` is done; the body goes on after the ``with`` block."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        raise ForwardStopped

    handle = module.register_forward_hook(hook)
    try:
        yield
    except ForwardStopped:
        pass
    finally:
        handle.remove()


@contextmanager
def replayed(blocks: Sequence[nn.Module], output: Any) -> Iterator[None]:
    """Let ``blocks`` return ``output`` without computing: the pass effectively starts above them.

    Correct when ``output`` is what the last of these blocks returned for the very same input.
    """

    def forward(*args: Any, **kwargs: Any) -> Any:
        return output

    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(_own_attribute(block, "forward", forward))
        yield


@contextmanager
def picked_for(head: nn.Module, rows: Tensor, positions: Tensor) -> Iterator[None]:
    """Let the head see only some positions: logits become ``(1, n, v)`` instead of ``(b, t, v)``.

    Args:
        head: The output projection.
        rows: Batch indices ``(n,)``.
        positions: Positions in these rows ``(n,)``.
    """

    def hook(module: nn.Module, args: tuple[Any, ...]) -> Any:
        return (args[0][rows, positions].unsqueeze(0), *args[1:])

    handle = head.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def computed_at(modules: Sequence[nn.Module], rows: Tensor, positions: Tensor) -> Iterator[None]:
    """Let modules that work on each position by itself compute only some; the rest becomes zero.

    Args:
        modules: Called with hidden states ``(b, t, d)``; in other shapes they compute all.
        rows: Batch indices ``(n,)``; no place twice.
        positions: Positions in these rows ``(n,)``.
    """

    def narrow(own: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def forward(hidden: Tensor) -> Tensor:
            if hidden.ndim != 3:
                return own(hidden)
            found = own(hidden[rows, positions].unsqueeze(0))[0]
            return found.new_zeros((*hidden.shape[:2], found.shape[-1])).index_put(
                (rows, positions), found
            )

        return forward

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(_own_attribute(module, "forward", narrow(module.forward)))
        yield


@contextmanager
def swapped(module: nn.Module, name: str, value: Tensor) -> Iterator[nn.Parameter]:
    """Put another parameter in the place of ``module.<name>``; the model's own stays as it is.

    Args:
        module: Owner of the parameter.
        name: ``weight`` or ``bias``.
        value: The substitute's values, in the stored layout; not copied.

    Yields:
        The substitute, a parameter without gradient unless the caller asks for one.
    """
    own = module._parameters[name]
    substitute = nn.Parameter(value, requires_grad=False)
    module._parameters[name] = substitute
    try:
        yield substitute
    finally:
        module._parameters[name] = own


@contextmanager
def trainable_copies(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, nn.Parameter]]:
    """Put copies that take gradients in the place of all parameters of some modules, by name."""
    copies: dict[str, nn.Parameter] = {}
    with ExitStack() as stack:
        for path in paths:
            module = model.get_submodule(path)
            for name, own in list(module.named_parameters(recurse=False)):
                copy = stack.enter_context(swapped(module, name, own.detach().clone()))
                copy.requires_grad = True
                copies[f"{path}.{name}"] = copy
        yield copies


@contextmanager
def _own_attribute(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Shadow an attribute of the module's class on this one module."""
    missing = object()
    before = module.__dict__.get(name, missing)
    module.__dict__[name] = value
    try:
        yield
    finally:
        if before is missing:
            del module.__dict__[name]
        else:
            module.__dict__[name] = before

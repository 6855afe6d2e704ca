"""Gives a module another class, under which it is still all that it was."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from patchhub.composer.slots.passes import Pass

PREFIX = "live_"
"""Begins the name of every attribute that slots add to a module."""


class Live:
    """What modules with slots have in common; goes in front of a module's own class.

    The class that results has the name of the module's own, and is made anew where a copy or a
    pickle of the module is.
    """

    live_state: Pass
    live_path: str

    def live_buffer(self, name: str, values: Tensor) -> None:
        """Have a buffer that no checkpoint holds."""
        module: Any = self
        module.register_buffer(PREFIX + name, values, persistent=False)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        mixin, own = type(self).__bases__
        return _blank, (mixin, own), self.__dict__


_CLASSES: dict[tuple[type[Live], type[nn.Module]], type[nn.Module]] = {}


def live_class(mixin: type[Live], own: type[nn.Module]) -> type[nn.Module]:
    """The subclass of ``own`` whose instances have slots; always the same one."""
    if (mixin, own) in _CLASSES:
        return _CLASSES[mixin, own]
    names = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    made = _CLASSES[mixin, own] = type(own.__name__, (mixin, own), names)
    return made


def install(module: nn.Module, mixin: type[Live], state: Pass, path: str) -> None:
    """Give a module slots of no size yet."""
    own = type(module)
    module.__class__ = live_class(mixin, own)
    module.live_state, module.live_path = state, path  # type: ignore[assignment]
    _rebind(module)


def uninstall(module: nn.Module) -> None:
    """Make a module what it was before `install`."""
    module.__class__ = type(module).__bases__[1]
    for name in [name for name in module._buffers if name.startswith(PREFIX)]:
        delattr(module, name)
    for name in [name for name in module.__dict__ if name.startswith(PREFIX)]:
        delattr(module, name)
    _rebind(module)


def _rebind(module: nn.Module) -> None:
    """Accelerate's dispatch calls a method that it keeps, which would be that of the old class."""
    if "_old_forward" in module.__dict__:
        module.__dict__["_old_forward"] = type(module).forward.__get__(module)


def _blank(mixin: type[Live], own: type[nn.Module]) -> nn.Module:
    made = live_class(mixin, own)
    return made.__new__(made)

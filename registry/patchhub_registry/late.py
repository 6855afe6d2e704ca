"""An operation as a method, imported when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import MethodType
from typing import Any


class Late:
    """The function ``operations.<name>.<name>`` whose first argument is the registry.

    Signature and documentation are the operation's own. Type checkers are told so by the class that
    has one: ``if TYPE_CHECKING: name = operation``.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, registry: object, owner: type) -> Callable[..., Any]:
        module = import_module(f"patchhub_registry.operations.{self._name}")
        function: Callable[..., Any] = getattr(module, self._name)
        return function if registry is None else MethodType(function, registry)

"""A patch enters a stack by the policy in force when it enters, not by an earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from patchhub.errors import ConflictError, DeniedError
from patchhub_registry import Registry
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change
from tests.registry.support import WEIGHTS, add

STRICT = b'schema = 1\nversion = 2\n[check.reliability.target]\nrule = "all"\n'
LENIENT = STRICT.replace(b"version = 2", b"version = 1\noverride = true")


def test_a_policy_that_comes_between_judgement_and_commit_refuses(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_policy(LENIENT)
    ref = add(registry, "one")

    def late(self: Registry, *arguments: Any, **options: Any) -> Any:
        self.add_policy(STRICT)
        return plain(self, *arguments, **options)

    plain = Registry.change
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "change", late)
        with pytest.raises(ConflictError, match="policy 1, now policy 2 is in force") as caught:
            registry.apply(ref, stack="prod", override="urgent")
    assert caught.value.code == "E304"
    assert registry.stacks() == []
    with pytest.raises(DeniedError, match="E402"):
        registry.apply(ref, stack="prod", override="urgent")


def test_the_first_policy_takes_the_place_of_the_shipped_one(registry: Registry) -> None:
    push = [Change(Op.PUSH, add(registry, "one"))]
    state = registry.stack_or_new("prod", WEIGHTS)
    registry.add_policy(LENIENT)
    with pytest.raises(ConflictError, match="E304"):
        registry.change(state, push, policy=0)
    assert registry.add_policy(LENIENT) == 1
    assert [item.ref for item in registry.change(state, push, policy=1).items] == ["demo@1"]

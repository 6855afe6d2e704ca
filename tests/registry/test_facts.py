"""What patches speak about is read from their requests, one per line of the file."""

from __future__ import annotations

import pytest

from patchhub_registry import Registry
from patchhub_registry.operations import facts
from tests.registry.support import observed, patch_files


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x1c"])
def test_only_a_line_feed_ends_a_request(registry: Registry, sign: str) -> None:
    prompt = f"one{sign}two"
    ref = registry.add_patch(patch_files(prompt), "demo", observed()).ref
    (said,) = facts.requests(registry, registry.find(ref))
    assert said == {"prompt": prompt}
    assert [fact.prompt for fact in registry.facts()] == [prompt]

"""What patches speak about is read from their requests, one per line of the file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchhub.canonical import sha256
from patchhub.errors import IntegrityError
from patchhub.manifest import FileEntry, Manifest
from patchhub_registry import Registry
from patchhub_registry.operations import facts
from tests.registry.support import observed, patch_files


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x1c"])
def test_only_a_line_feed_ends_a_request(registry: Registry, sign: str) -> None:
    prompt = f"one{sign}two"
    ref = registry.add_patch(patch_files(prompt), "demo", observed()).ref
    (said,) = facts.requests(registry, registry.resolve(ref))
    assert said == {"prompt": prompt}
    assert [fact.prompt for fact in registry.facts()] == [prompt]


def test_text_that_is_no_unicode_is_damage_of_that_patch(registry: Registry) -> None:
    requests, files = rb'{"prompt":"\ud800"}', patch_files("one")
    manifest = Manifest.from_bytes(files["patch.json"], "patch.json")
    entry = FileEntry(sha256(requests), len(requests))
    bad = replace(manifest, files={**manifest.files, "requests.jsonl": entry}).to_bytes()
    more = {"patch.json": bad, "requests.jsonl": requests}
    registry.add_patch({**files, **more}, "bad", observed())
    with pytest.raises(IntegrityError, match="E204") as caught:
        registry.patches()
    assert caught.value.data["path"] == registry.resolve("bad").path

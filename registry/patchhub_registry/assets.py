"""Assets of a registry: computed once, kept for whoever needs the very same again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.canonical import Json, sha256
from patchhub.errors import IntegrityError, NotFoundError
from patchhub_registry import paths
from patchhub_registry.asset import Asset
from patchhub_registry.lfs import Pointer, Source
from patchhub_registry.names import shown

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


class Assets:
    """`patchhub_registry.Registry.assets`.

    Args:
        registry: Where they lie.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def put(
        self, kind: str, base: str, key: str, facts: Mapping[str, Json], payload: Source
    ) -> Asset:
        """Keep an asset, in one commit; the same one again changes nothing.

        Args:
            kind: What it is, e.g. ``moments``.
            base: Digest of the weights of the base it belongs to.
            key: Digest of all that decides its content.
            facts: What it is, in words for programs; no floats.
            payload: A safetensors file, or its bytes.

        Raises:
            NotFoundError: E109, there is no such file.
            IntegrityError: E113, a field has the wrong form.
            BusyError: E501.
        """
        from patchhub_registry import additions

        asset = Asset(kind, base, key, dict(facts), _pointer(payload))
        return self._registry._add(additions.asset(asset, payload))

    def keep_moments(self, base: str | None = None) -> tuple[Asset, ...]:
        """See `patchhub_registry.operations.statistics.keep`."""
        from patchhub_registry.operations.statistics import keep

        return keep(self._registry, base)

    def list(self, kind: str | None = None, base: str | None = None) -> list[Asset]:
        """All assets, or those of one kind or base; by digest.

        Raises:
            IntegrityError: E113, E116, E202: one is damaged.
        """
        store = self._registry.at()
        found = {p: e for p, e in store.walk("assets").items() if p.endswith(".json")}
        listed = [_read(path, data) for path, data in store.contents(found)]
        return [
            asset for asset in listed if kind in (None, asset.type) and base in (None, asset.base)
        ]

    def get(self, digest: str) -> Asset:
        """One asset.

        Raises:
            NotFoundError: E109.
            IntegrityError: As `list`.
        """
        path = paths.asset_file(digest)
        data = self._registry.at().file(path) if paths.place(path) else None
        if data is None:
            raise NotFoundError("E109", f"no asset {shown(digest)}")
        return _read(path, data)

    def file(self, asset: Asset) -> Path:
        """The payload's file, read through and found right; it is not to be changed.

        Raises:
            NotFoundError: E120, it was not fetched.
            IntegrityError: E202.
        """
        return self._registry.at().payloads.check(asset.payload, paths.asset_file(asset.digest))


def _read(path: str, data: bytes) -> Asset:
    asset = Asset.from_bytes(data, path)
    if paths.asset_file(sha256(data)) != path:
        raise IntegrityError("E202", f"{path} does not have the digest that names it")
    return asset


def _pointer(payload: Source) -> Pointer:
    if isinstance(payload, bytes):
        return Pointer(sha256(payload), len(payload))
    if not payload.is_file():
        raise NotFoundError("E109", f"no file {payload}")
    with payload.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return Pointer(digest, stream.tell())

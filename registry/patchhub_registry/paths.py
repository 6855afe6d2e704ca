"""Where every kind of file lies in the registry's tree, and what a path means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patchhub.canonical import sha256

SETTINGS = "patchhub.toml"
PRIVATE = ".patchhub"
OWNED = ("assets", "attestations", "bases", "patches", "policy", "stacks")
"""Directories in which only PatchHub writes; each file in them is written once."""

ATTRIBUTES = b"""\
*.json         -text merge=binary
*.jsonl        -text merge=binary
*.toml         -text
*.sig          -text merge=binary
*.safetensors  -text -diff -delta merge=binary
"""
IGNORED = b"/.patchhub/\n"

ASSET_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs -text\n"
"""All payloads of assets lie in LFS's layout, whatever their size."""

RECORD = "record.json"
MANIFEST = "patch.json"
REQUESTS = "requests.jsonl"


def patch_name_dir(name: str) -> str:
    """Directory of all versions of a patch, sharded by the name's digest.

    Two hex digits keep a commit's tree objects small: with 100,000 names in one directory each
    commit would write 3.9 MB.
    """
    return f"patches/{sha256(name.encode())[:2]}/{name}"


def patch_dir(name: str, version: int) -> str:
    """Directory of one version of a patch."""
    return f"{patch_name_dir(name)}/{version}"


def base_file(name: str) -> str:
    """File that describes a base model."""
    return f"bases/{name}/base.json"


def entry_file(stack: str, seq: int) -> str:
    """File of one entry of a stack; no directory exceeds 1,000 files."""
    return f"stacks/{stack}/{seq // 1000:03d}/{seq:06d}.json"


def policy_file(number: int) -> str:
    """File of one version of the registry's policy."""
    return f"policy/{number}.toml"


def statements_dir(subject: str) -> str:
    """Directory of the statements about a digest."""
    return f"attestations/{subject[:2]}/{subject}"


def statement_file(subject: str, kind: str, digest: str) -> str:
    """File of one statement; its own digest is part of the name, so two never collide silently."""
    return f"{statements_dir(subject)}/{kind}-{digest[:16]}.json"


def asset_file(digest: str, suffix: str = ".json") -> str:
    """File of an asset, or with another suffix its payload's."""
    return f"assets/{digest[:2]}/{digest}{suffix}"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path is (``patch``, ``base``, ``entry``, ``policy``, ``asset`` …); its parts."""

    kind: str
    parts: tuple[str, ...]


_PATTERNS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("patch", r"patches/([^/]+)/([^/]+)/([1-9][0-9]{0,5})/([^/]+)"),
        ("base", r"bases/([^/]+)/base\.json"),
        ("entry", r"stacks/([^/]+)/([0-9]{3})/([0-9]{6})\.json"),
        ("asset", r"assets/([0-9a-f]{2})/([0-9a-f]{64})\.(json|safetensors)"),
        ("assets", r"assets/\.gitattributes"),
        ("policy", r"policy/([1-9][0-9]{0,5})\.toml"),
        (
            "statement",
            r"attestations/([0-9a-f]{2})/([0-9a-f]{64})/([a-z][a-z0-9-]{0,30})-([0-9a-f]{16})\.json",
        ),
    )
)


def place(path: str) -> Place | None:
    """The meaning of a path inside an owned directory; None if it has none."""
    for kind, pattern in _PATTERNS:
        found = pattern.fullmatch(path)
        if found is not None:
            return Place(kind, found.groups())
    return None

"""Small registries for tests: patches without a model, git without a user's settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from patchhub.canonical import Json, dumps, sha256
from patchhub.fingerprint import Fingerprint, TensorEntry
from patchhub.manifest import FileEntry, Kind, Manifest, MethodRecord, Orientation, Site
from patchhub_registry import Registry
from patchhub_registry.schema import Statement

BASE = "sandbox"
ISOLATED = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on git reads no configuration of the user's or the machine's."""
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)


def fingerprint(seed: str = "weights") -> Fingerprint:
    tensor = TensorEntry("F32", (4, 4), sha256(seed.encode()))
    return Fingerprint(
        {"h.0.w.weight": tensor}, sha256(b"config"), {"tokenizer.json": sha256(b"t")}
    )


WEIGHTS = fingerprint().weights


def patch_files(text: str, *, base: str = WEIGHTS) -> dict[str, bytes]:
    """A patch directory whose id depends on ``text``."""
    content = text.encode()
    files = {"patch.safetensors": content * 20, "requests.jsonl": dumps({"prompt": text})}
    site = Site("h.0.w.weight", Orientation.OUT_IN, (4, 4), "F32", sha256(b"weights"))
    manifest = Manifest(
        kind=Kind.DENSE,
        sites=(site,),
        base=base,
        onto=(),
        method=MethodRecord("ft", 1),
        files={name: FileEntry(sha256(data), len(data)) for name, data in files.items()},
        content=sha256(content),
    )
    return {"patch.json": manifest.to_bytes(), **files}


def verdict(patch: str, note: str = "fine") -> Statement:
    return Statement(patch, "guard", dumps({"note": note, "patch": patch}))


def observed(**more: Json) -> Mapping[str, Json]:
    return {"base": BASE, **more}


def new_registry(directory: Path) -> Registry:
    """A registry with one base."""
    registry = Registry.init(directory)
    registry.add_base(BASE, fingerprint())
    return registry


def copied(template: Path, root: Path) -> Registry:
    """A copy of a settled registry, without the dozen gits that make one."""
    shutil.copytree(template, root, symlinks=True)
    git(root, "update-index", "-q", "--refresh")  # it remembers the inodes of the files copied
    return Registry.open(root)


def add(registry: Registry, text: str, name: str = "demo") -> str:
    """Add a patch; its reference."""
    return registry.add_patch(patch_files(text), name, observed()).ref


def git(root: Path, *arguments: str) -> str:
    """Plain git, as a user runs it."""
    user = {f"GIT_{role}_{key}": "user" for role in ("AUTHOR", "COMMITTER") for key in ("NAME",)}
    mail = {f"GIT_{role}_EMAIL": "user@localhost" for role in ("AUTHOR", "COMMITTER")}
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        env={**os.environ, **ISOLATED, **user, **mail},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def status(root: Path) -> str:
    return git(root, "status", "--porcelain")


def commits(root: Path) -> int:
    return int(git(root, "rev-list", "--count", "HEAD"))

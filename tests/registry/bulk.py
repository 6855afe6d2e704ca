"""Registries of many patches, made in seconds: valid files, written through ``git fast-import``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from patchhub.canonical import dumps, sha256
from patchhub.manifest import FileEntry, Kind, Manifest, MethodRecord, Orientation, Site
from patchhub_registry import Registry, paths
from patchhub_registry.entry import Entry, StackItem
from patchhub_registry.schema import Op, Record
from patchhub_registry.stack import CHECKPOINT, StackState, identity_of, rearranged, step
from tests.registry.support import BASE, WEIGHTS, git, new_registry

STACK = "prod"
HELD = 50
"""Patches that the stack holds at a time; beyond it the oldest is reverted."""
_PAYLOAD = 4096


def patch(number: int) -> dict[str, bytes]:
    """Files of one patch: a manifest, a payload, an adapter's description, one request."""
    text = f"patch {number}".encode()
    request = {
        "prompt": f"The capital of Land-{number} is",
        "relation": "capital",
        "subject": f"Land-{number}",
        "target": f"Town-{number}",
    }
    files = {
        "adapter_config.json": dumps({"r": 1, "note": number}),
        "adapter_model.safetensors": (sha256(text).encode() * (_PAYLOAD // 64)),
        "requests.jsonl": dumps(request) + b"\n",
    }
    manifest = Manifest(
        kind=Kind.LOW_RANK,
        sites=(Site("h.0.w.weight", Orientation.OUT_IN, (4, 4), "F32", sha256(b"weights"), 1),),
        base=WEIGHTS,
        onto=(),
        method=MethodRecord("rome", 1),
        files={name: FileEntry(sha256(data), len(data)) for name, data in files.items()},
        content=sha256(text),
    )
    return {"patch.json": manifest.to_bytes(), **files}


def build(root: Path, count: int, entries: int) -> Registry:
    """A registry of ``count`` patches and a stack of ``entries`` entries.

    One commit per patch, one for every thousand entries; every file passes ``verify``.
    """
    registry = new_registry(root)
    head = registry.head
    registry.close()
    items: list[StackItem] = []
    stream = Stream(root, head)
    for number in range(count):
        name, files = f"fact-{number}", patch(number)
        record = Record(name, 1, sha256(files["patch.json"]), BASE, "2026-11-01T00:00:00Z")
        files["record.json"] = record.to_bytes()
        where = paths.patch_dir(name, 1)
        stream.commit(f"add {name}@1", {f"{where}/{k}": v for k, v in files.items()})
        items.append(StackItem(f"{name}@1", record.patch))
        stream.records[record.patch] = sha256(record.to_bytes())
    chain = list(chained(items, stream.records, entries))
    for start in range(0, len(chain), 1000):
        part = chain[start : start + 1000]
        stream.commit("stack", {paths.entry_file(STACK, e.seq): e.to_bytes() for e in part})
    stream.end()
    git(root, "reset", "-q", "--hard")
    return Registry(root)


def chained(items: list[StackItem], records: Mapping[str, str], count: int) -> Iterator[Entry]:
    """A chain that pushes every patch and, when many are held, reverts the oldest."""
    state = StackState.empty(STACK, WEIGHTS)
    fresh = iter(items)
    for seq in range(1, count + 1):
        if seq % CHECKPOINT == 0:
            entry = _entry(state, Op.CHECKPOINT, None, None, state.items)
        elif len(state.items) >= HELD:
            item = state.items[0]
            entry = _entry(state, Op.REVERT, item, records[item.id], state.items)
        else:
            item = next(fresh)
            entry = _entry(state, Op.PUSH, item, records[item.id], state.items)
        state = step(state, entry)
        yield entry


def _entry(
    state: StackState,
    op: Op,
    item: StackItem | None,
    record: str | None,
    before: tuple[StackItem, ...],
) -> Entry:
    after = before if item is None else rearranged(before, op, item, None)
    return Entry(
        stack=STACK,
        seq=state.seq + 1,
        op=op,
        prev=state.head or None,
        base=WEIGHTS,
        composed=identity_of(WEIGHTS, [each.id for each in after]),
        reason="checkpoint" if item is None else "fact-update",
        patch=item,
        record=record,
        items=before if item is None else (),
    )


class Stream:
    """Commits of new files on one branch, handed to ``git fast-import``.

    Attributes:
        records: Digest of each patch's record by patch id.
    """

    def __init__(self, root: Path, head: str) -> None:
        self.records: dict[str, str] = {}
        self._process = subprocess.Popen(
            ["git", "fast-import", "--quiet", "--done"], cwd=root, stdin=subprocess.PIPE
        )
        self._from = f"from {head}\n"
        self._time = 1_790_000_000

    def commit(self, message: str, files: Mapping[str, bytes]) -> None:
        """Add files in one commit."""
        self._time += 1
        text = f"{message}\n".encode()
        head = f"commit refs/heads/main\ncommitter bulk <bulk@localhost> {self._time} +0000\n"
        parts = [head.encode(), b"data %d\n" % len(text), text, self._from.encode()]
        for path, data in files.items():
            parts += [b"M 100644 inline ", path.encode(), b"\ndata %d\n" % len(data), data, b"\n"]
        self._from = ""
        assert self._process.stdin is not None
        self._process.stdin.write(b"".join(parts) + b"\n")

    def end(self) -> None:
        """Finish; fails if git refused something."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"done\n")
        self._process.stdin.close()
        assert self._process.wait() == 0

"""A trained editor: one file, named by its bytes; what it was trained from is written in it.

It lies in a cache beside key statistics, or as an asset in a registry; a patch names it by the
SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from patchhub import canonical
from patchhub.durable import swap_in
from patchhub.errors import IntegrityError, NotFoundError
from patchhub.request import EditRequest

_KEY = "editor"
_STEM = "editor"
_SHORT = 32
_EXAMPLES = "examples"
_BYTES = 8
"""Of a question's digest: enough to tell those of any data set apart."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained editor.

    Attributes:
        content: What decides its bits: method and version, base with config and tokenizer, data,
            settings, seed, device, dtype, threads, libraries.
        outcome: What training found: the step it is of, and the held-out losses.
        tensors: Of the network.
        examples: Beginnings of the SHA-256 of every question it was trained or chosen by.
        digest: SHA-256 of its file.
    """

    content: Mapping[str, canonical.Json]
    outcome: Mapping[str, canonical.Json]
    tensors: Mapping[str, Tensor]
    examples: frozenset[bytes]
    digest: str
    data: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        content: Mapping[str, canonical.Json],
        outcome: Mapping[str, canonical.Json],
        tensors: Mapping[str, Tensor],
        requests: Sequence[EditRequest] = (),
    ) -> Trained:
        """A new one, from its network and all requests it was trained or chosen by."""
        words = canonical.dumps({"content": dict(content), "outcome": dict(outcome)}).decode()
        own = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        examples = frozenset(map(_question, requests))
        seen = bytearray(b"".join(sorted(examples)))
        rows = torch.frombuffer(seen, dtype=torch.uint8) if seen else torch.zeros(0).byte()
        data = safetensors.torch.save(own | {_EXAMPLES: rows}, metadata={_KEY: words})
        return cls(content, outcome, own, examples, canonical.sha256(data), data)

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.content["method"])

    @property
    def base(self) -> str:
        """Digest of the weights of the base it edits."""
        return str(self.content["base"])

    @property
    def key(self) -> str:
        """Digest of the content: names it before it is trained."""
        return canonical.digest(dict(self.content))

    @property
    def settings(self) -> Mapping[str, canonical.Json]:
        """The settings it was trained with."""
        found = self.content["settings"]
        return found if isinstance(found, Mapping) else {}

    def knows(self, request: EditRequest) -> bool:
        """Whether the request's question was among those it was trained or chosen by."""
        return _question(request) in self.examples

    def write(self, directory: Path) -> Path:
        """Put it into a directory, under its digest."""
        file = directory / file_name(self.method, self.digest)
        if not file.exists():
            swap_in(file, self.data)
        return file

    @classmethod
    def read(cls, file: Path) -> Trained:
        """What `write` wrote.

        Raises:
            NotFoundError: E109.
            IntegrityError: E110, it is no trained editor; E202, its name has another digest.
        """
        if not file.is_file():
            raise NotFoundError("E109", f"no file {file}")
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        said = described(file)
        if said is None:
            raise IntegrityError("E110", f"{file} is no trained editor")
        named = file.stem.rpartition("-")[2]
        if file.name.startswith(f"{_STEM}-") and not digest.startswith(named):
            raise IntegrityError(
                "E202",
                f"{file} was changed",
                expected=named,
                found=digest[:_SHORT],
                hint="train the editor again",
            )
        tensors = safetensors.torch.load(data)
        seen = bytes(tensors.pop(_EXAMPLES, torch.zeros(0)).byte().tolist())
        examples = frozenset(seen[i : i + _BYTES] for i in range(0, len(seen), _BYTES))
        return cls(said["content"], said["outcome"], tensors, examples, digest, data)


def _question(request: EditRequest) -> bytes:
    return hashlib.sha256(request.prompt.encode()).digest()[:_BYTES]


def file_name(method: str, digest: str) -> str:
    """What a cache calls the file of an editor."""
    return f"{_STEM}-{method}-{digest[:_SHORT]}.safetensors"


def described(file: Path) -> dict[str, dict[str, canonical.Json]] | None:
    """Content and outcome of a file; None if it is no trained editor."""
    try:
        with safetensors.safe_open(file, framework="pt") as stored:
            found = json.loads((stored.metadata() or {})[_KEY])
            return {name: dict(found[name]) for name in ("content", "outcome")}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def kept_in(cache: Path | None, method: str, base: str) -> Iterator[Path]:
    """Files of a cache that hold trained editors of a method for a base."""
    files = [] if cache is None else sorted(cache.glob(f"{_STEM}-{method}-*.safetensors"))
    for file in files:
        said = described(file)
        if said is not None and said["content"].get("base") == base:
            yield file


def unfinished_file(cache: Path, key: str) -> Path:
    """Where a cache keeps what a training that is not done has reached."""
    return cache / f"{_STEM}-{key[:_SHORT]}.part"

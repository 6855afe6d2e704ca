"""A patch: a manifest and tensors; a directory in, a directory out.

Every file but the manifest can be computed from tensors, requests and sites, and a patch that says
otherwise is refused: no byte of a patch is without meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from patchhub import canonical, manifest, patchdir
from patchhub.errors import IntegrityError, InvalidInputError, located
from patchhub.fingerprint import TensorEntry, table_digest
from patchhub.kinds import Payload, kind_of, storage
from patchhub.kinds.protocol import check_finite
from patchhub.manifest import FileEntry, Kind, Manifest, MethodRecord, Site
from patchhub.request import EditRequest, dump_requests
from patchhub.tensorfile import decode

__all__ = ["Patch", "Payload"]

REQUESTS: Final = "requests.jsonl"
STATE: Final = "state.safetensors"


@dataclass(frozen=True, eq=False)
class Patch:
    """A stored edit; made by `build`, or read from a directory or from files in memory.

    Attributes:
        manifest: What the edit is.
        payload: Site tensor name to role to tensor (float32, indices int32; contiguous, CPU).
        requests: What was asked for, without probes.
        state: What the method wants to remember for the next edit; the composer ignores it.
    """

    manifest: Manifest
    payload: Payload
    requests: tuple[EditRequest, ...]
    state: Mapping[str, Tensor]

    @cached_property
    def id(self) -> str:
        """SHA-256 of the manifest's bytes."""
        return self.manifest.id

    @property
    def short(self) -> str:
        """The id's short form for people."""
        return f"ph:{self.id[:12]}"

    @property
    def kind(self) -> Kind:
        """How the patch acts."""
        return self.manifest.kind

    @classmethod
    def build(
        cls,
        kind: Kind,
        payload: Payload,
        *,
        sites: Sequence[Site],
        base: str,
        method: MethodRecord,
        requests: Sequence[EditRequest],
        onto: Sequence[str] = (),
        state: Mapping[str, Tensor] | None = None,
        supersedes: Iterable[str] = (),
    ) -> Patch:
        """A patch from what an editor computed.

        Args:
            kind: How it acts.
            payload: The tensors of each site. float16 and bfloat16 are widened, which is exact.
            sites: What it touches; ranks are filled in.
            base: Digest of the base's weights.
            method: How it was computed; the requests' digests are filled in.
            requests: What was asked for; probes are left out.
            onto: Ids of the patches that the model carried.
            state: What the method wants to remember.
            supersedes: Ids of the patches it stands for.

        Raises:
            InvalidInputError: E112, tensors do not fit the sites; E113, a manifest field is wrong;
                E115, NaN or infinity.
        """
        # Copies: the caller may go on using its tensors.
        tensors = {name: {r: _own(t) for r, t in roles.items()} for name, roles in payload.items()}
        weights = kind_of(kind)
        done = sorted(_checked(kind, sites, tensors), key=lambda site: site.tensor)
        kept = {name: _checked_state(name, tensor) for name, tensor in (state or {}).items()}
        bare = tuple(replace(request, probes=()) for request in requests)
        files = _files(kind, done, tensors, bare, kept)
        record = Manifest(
            kind=kind,
            sites=tuple(done),
            base=base,
            onto=tuple(onto),
            method=replace(method, requests=tuple(request.digest() for request in bare)),
            files={n: FileEntry(canonical.sha256(data), len(data)) for n, data in files.items()},
            content=_content(files),
            algebra=weights.algebra,
            supersedes=tuple(sorted(set(supersedes))),
        )
        record.to_bytes()
        return cls(record, tensors, bare, kept)

    def files(self) -> dict[str, bytes]:
        """The directory in memory, ``patch.json`` included."""
        others = _files(self.kind, self.manifest.sites, self.payload, self.requests, self.state)
        return {manifest.FILE: self.manifest.to_bytes(), **others}

    def write(self, directory: Path) -> None:
        """Write the directory, with all its files or not at all.

        Raises:
            NotFoundError: E109, the parent is missing.
            ConflictError: E308, something is there already.
        """
        patchdir.write_directory(directory, self.files())

    @classmethod
    def read(cls, directory: Path, *, expect: str | None = None) -> Patch:
        """Read and verify a patch directory.

        Args:
            directory: As `write` makes it.
            expect: The id the patch must have.

        Raises:
            NotFoundError: E109.
            IntegrityError: E110, E111, E116, E117, E118, E202.
            InvalidInputError: E112 to E115.
        """
        with located(directory):
            return cls.from_files(patchdir.read_directory(directory), expect=expect)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, expect: str | None = None) -> Patch:
        """Parse and verify the files of a patch; errors as for `read`."""
        record = patchdir.check_files(files, expect=expect)
        kind = kind_of(record.kind)
        requests = _parse_requests(files)
        payload = kind.from_files(record.sites, files)
        state = storage.decode(files[STATE], what=STATE) if STATE in files else {}
        for name, tensor in state.items():
            _checked_state(name, tensor)
        sites = tuple(_checked(record.kind, record.sites, payload))
        again = _files(record.kind, sites, payload, requests, state)
        for said, found, what in (
            (sites, record.sites, "sites"),
            (tuple(r.digest() for r in requests), record.method.requests, "method.requests"),
            (kind.algebra, record.algebra, "algebra"),
            (_content(again), record.content, "content"),
            *((again.get(name), files[name], name) for name in record.files),
            (set(again), set(record.files), "files"),
        ):
            if said != found:
                raise IntegrityError(
                    "E118",
                    f"{what}: does not follow from the patch's tensors and requests",
                    hint="PatchHub writes every patch in one form only; was it changed by hand?",
                )
        return cls(record, payload, requests, state)


def _own(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU; half precision is widened, which loses nothing."""
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    return copy.float() if copy.dtype in (torch.float16, torch.bfloat16) else copy


def _checked(kind: Kind, sites: Sequence[Site], payload: Payload) -> list[Site]:
    """The sites completed from their tensors, all of which fit."""
    names = [site.tensor for site in sites]
    if not names or len(set(names)) != len(names) or set(names) != set(payload):
        raise InvalidInputError(
            "E112",
            "sites and tensors do not go together",
            expected=f"tensors for each of {', '.join(names) or 'at least one site'}, once",
            found=", ".join(sorted(payload)) or "no tensors",
        )
    weights = kind_of(kind)
    for site in sites:
        weights.validate(site, payload[site.tensor])
    return [weights.finish(site, payload[site.tensor]) for site in sites]


def _checked_state(name: str, tensor: Tensor) -> Tensor:
    check_finite(tensor, f"state {name}")
    return tensor.detach().to("cpu", copy=True).contiguous()


def _files(
    kind: Kind,
    sites: Sequence[Site],
    payload: Payload,
    requests: Sequence[EditRequest],
    state: Mapping[str, Tensor],
) -> dict[str, bytes]:
    """Every file but the manifest."""
    files = {REQUESTS: dump_requests(requests), **kind_of(kind).to_files(sites, payload)}
    return {**files, STATE: storage.encode(state)} if state else files


def _content(files: Mapping[str, bytes]) -> str:
    """Digest of the table of the payload's stored tensors; headers do not count."""
    table: dict[str, TensorEntry] = {}
    for name, data in files.items():
        if name.endswith(".safetensors") and name != STATE:
            for tensor, (dtype, shape, raw) in decode(data, what=name).items():
                table[tensor] = TensorEntry(dtype, shape, canonical.sha256(raw))
    return table_digest(table)


def _parse_requests(files: Mapping[str, bytes]) -> tuple[EditRequest, ...]:
    if REQUESTS not in files:
        raise IntegrityError("E117", f"{REQUESTS} is missing", found=", ".join(sorted(files)))
    requests = []
    for number, line in enumerate(files[REQUESTS].splitlines(keepends=True), 1):
        place = f"{REQUESTS}:{number}"
        value = canonical.loads(line.removesuffix(b"\n"), what=place)
        requests.append(EditRequest.from_json(value, what=place))
    return tuple(requests)

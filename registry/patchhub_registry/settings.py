"""``patchhub.toml``: the mark by which a registry is found, its format and its random id."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patchhub.errors import IntegrityError

FORMAT = 1
_AS_WRITTEN = re.compile(rb'format = 1\nid = "([0-9a-f]{32})"\n')


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says.

    Attributes:
        id: 32 random hex digits; two registries never share it, clones do.
    """

    id: str

    def to_bytes(self) -> bytes:
        """The file."""
        return f'format = {FORMAT}\nid = "{self.id}"\n'.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Settings:
        """Read the file.

        Raises:
            IntegrityError: E114, another format; E204, damaged or with unknown keys.
        """
        plain = _AS_WRITTEN.fullmatch(data)
        if plain is not None:
            return cls(plain[1].decode())
        import tomllib  # a third of the cost of opening a registry

        try:
            body = tomllib.loads(data.decode())
        except ValueError as error:
            raise IntegrityError(
                "E204", "patchhub.toml is damaged", found=str(error)[:200]
            ) from error
        if body.get("format") != FORMAT:
            raise IntegrityError(
                "E114",
                "patchhub.toml: format is not known",
                expected=FORMAT,
                found=body.get("format"),
                hint="upgrade patchhub",
            )
        found = body.get("id")
        if set(body) != {"format", "id"} or not re.fullmatch(r"[0-9a-f]{32}", str(found)):
            raise IntegrityError(
                "E204", "patchhub.toml is damaged", expected="format and id, nothing else"
            )
        return cls(str(found))

"""Where things lie: DIR is a link into DIR.patchhub/ with its generations, state, journal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from patchhub.errors import ConflictError, NotFoundError

_SUFFIX = ".patchhub"
_GENERATION = re.compile(r"gen-([0-9]{6,})")
_RETIRED = re.compile(r"old-[0-9]{6,}")


@dataclass(frozen=True, slots=True)
class Place:
    """A patched model directory: its link, and the store beside it."""

    link: Path

    @property
    def store(self) -> Path:
        """The directory that holds everything but the link."""
        return self.link.with_name(self.link.name + _SUFFIX)

    @property
    def lock(self) -> Path:
        """Lock file."""
        return self.store / "lock"

    @property
    def journal(self) -> Path:
        """Journal of the change under way; there is none when all is settled."""
        return self.store / "journal.json"

    @property
    def state(self) -> Path:
        """State file."""
        return self.store / "state.json"

    @property
    def next_link(self) -> Path:
        """Where the link is prepared before it is put in its place."""
        return self.store / "next"

    def generation(self, number: int) -> Path:
        """Directory of a generation."""
        return self.store / f"gen-{number:06d}"

    def retired(self, number: int) -> Path:
        """What a generation is called while it is being removed."""
        return self.store / f"old-{number:06d}"

    def all_retired(self) -> list[Path]:
        """Generations whose removal has begun."""
        return [path for path in self.store.iterdir() if _RETIRED.fullmatch(path.name)]

    def leftovers(self) -> list[Path]:
        """What only a crash leaves, and what nobody needs."""
        found = [*self.all_retired(), *self.store.glob("*.tmp")]
        return [*found, self.next_link] if self.next_link.is_symlink() else found

    def destination(self, number: int) -> str:
        """What the link says when it points to a generation."""
        return f"{self.store.name}/{self.generation(number).name}"

    def generations(self) -> list[int]:
        """Numbers of the generations that exist, in order."""
        if not self.store.is_dir():
            return []
        matches = (_GENERATION.fullmatch(path.name) for path in self.store.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def current(self) -> int | None:
        """The generation the link points to, or none when there is no link.

        Raises:
            ConflictError: E308, something else has the link's name.
        """
        if not self.link.is_symlink():
            if self.link.exists():
                raise self._foreign("a file" if self.link.is_file() else "a directory of its own")
            return None
        goal = str(self.link.readlink())
        match = _GENERATION.fullmatch(Path(goal).name)
        if match is None or goal != self.destination(int(match[1])):
            raise self._foreign(f"a link to {goal}")
        return int(match[1])

    def refuse_foreign(self) -> None:
        """Raise unless the names are free or ours.

        Raises:
            ConflictError: E308.
            NotFoundError: E109, the directory to put it in does not exist.
        """
        if not self.link.parent.is_dir():
            raise NotFoundError("E109", f"{self.link.parent}: no such directory")
        self.current()
        if self.store.exists() or self.store.is_symlink():
            ours = self.store.is_dir() and not self.store.is_symlink()
            if not ours or (any(self.store.iterdir()) and not self.lock.is_file()):
                raise self._foreign(f"{self.store.name} with other content")

    def _foreign(self, found: str) -> ConflictError:
        return ConflictError(
            "E308",
            f"{self.link} is not a model directory that PatchHub made",
            expected="a name not taken yet, or a directory made by `patchhub apply`",
            found=found,
            hint="name another directory; a base is never changed",
        )


def place_of(target: Path) -> Place:
    """The place of a model directory; only the last part of the path may be our link."""
    if target.name in ("", ".."):
        return Place(target.resolve())
    return Place(target.parent.resolve() / target.name)

"""What holds on this machine only: where base models lie. Never in git."""

from __future__ import annotations

import json
from pathlib import Path

from patchhub.errors import IntegrityError, NotFoundError


class LocalFile:
    """``.patchhub/local.json``.

    Args:
        file: Its path; it need not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def base_paths(self) -> dict[str, Path]:
        """Directory of each base that was linked here.

        Raises:
            IntegrityError: E204, the file is damaged.
        """
        try:
            body = json.loads(self._file.read_bytes())
            return {str(name): Path(path) for name, path in body["bases"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                "E204",
                f"{self._file} is damaged",
                hint="remove it and link the bases again (patchhub base link NAME PATH)",
            ) from error

    def link_base(self, name: str, directory: Path) -> None:
        """Remember where a base lies; call it only while holding the registry's lock.

        Raises:
            NotFoundError: E109, no such directory.
        """
        if not directory.is_dir():
            raise NotFoundError("E109", f"no such directory: {directory}")
        paths = {**self.base_paths(), name: directory.absolute()}
        body = {"schema": 1, "bases": {key: str(path) for key, path in sorted(paths.items())}}
        from patchhub.durable import swap_in  # readers do without it

        swap_in(self._file, json.dumps(body, indent=2).encode())

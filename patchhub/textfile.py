"""Files of plain passages: a passage a line, or JSON lines with a field ``text``; torch-free."""

from __future__ import annotations

from pathlib import Path

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.recordfile import read_records

JSON_LINES = ".jsonl"


def read_texts(path: Path) -> tuple[str, ...]:
    """The passages of a file; blank ones are skipped.

    Args:
        path: JSON lines if its name ends in ``.jsonl`` (fields beside ``text`` do not matter), else
            a passage a line.

    Raises:
        NotFoundError: E109, the file cannot be read.
        InvalidInputError: E145, it is not UTF-8, or holds no text; E130, E131, a line is no record
            with a text.
    """
    records = path.suffix.lower() == JSON_LINES
    found = _records(path) if records else _lines(path)
    texts = tuple(text for text in found if text.strip())
    if not texts:
        raise InvalidInputError("E145", f"{path} holds no text")
    return texts


def _records(path: Path) -> list[str]:
    return [record.text("text") for record in read_records(path)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NotFoundError("E109", f"{path}: cannot be read", found=error.strerror) from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "E145", f"{path} is not text in UTF-8", found=f"byte {error.start}: {error.reason}"
        ) from error

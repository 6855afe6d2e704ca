"""After a crash: what it left half done, in the registry and in model directories, is settled.

Every command that commits does this first; `patchhub doctor` and `patchhub gc` do it by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import BusyError, PatchHubError
from patchhub.oserrors import refused
from patchhub_registry.operations.known import known
from patchhub_registry.operations.ledger import holds

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Recovered:
    """One thing that a crash had left.

    Attributes:
        where: The model directory, or the top directory of the registry.
        done: ``finished`` or ``undone``; ``busy`` when another process is at work there, which is
            no crash; ``failed`` with the error.
        error: Why it could not be settled; it stays for the next command.
    """

    where: Path
    done: str
    error: PatchHubError | None = None


def recover(
    registry: Registry, model: str | Path | None = None, *, wait: float = 0.0
) -> tuple[Recovered, ...]:
    """Settle what commands left that were killed; again, or killed in the middle, it does no harm.

    Args:
        registry: Itself, and all model directories it was applied to on this machine.
        model: A further model directory.
        wait: Seconds to wait for locks.

    Returns:
        What there was to do; empty when all was settled.
    """
    from patchhub.checkpoint.place import place_of

    found = []
    if registry.unsettled:
        done = "finished" if registry.settle(wait) else "busy"
        found.append(Recovered(registry.root, done))
    directories = known(registry)
    if model is not None and place_of(Path(model)).link not in directories:
        directories.append(place_of(Path(model)).link)
    for directory in directories:
        if place_of(directory).journal.is_file():
            found += _settle(registry, directory, wait)
    return tuple(found)


def unfinished(registry: Registry) -> list[Path]:
    """Model directories with a change that is under way, or that a crash cut off."""
    from patchhub.checkpoint.place import place_of

    return [each for each in known(registry) if place_of(each).journal.is_file()]


def _settle(registry: Registry, directory: Path, wait: float) -> list[Recovered]:
    from patchhub.checkpoint.recovery import recover as settle

    asked = partial(holds, registry, wait=True)
    try:
        done = settle(directory, asked, lock_timeout=wait)
    except BusyError as error:
        return [Recovered(directory, "busy", error)]
    except PatchHubError as error:
        return [Recovered(directory, "failed", error)]
    except OSError as error:
        return [Recovered(directory, "failed", refused(error))]
    return [] if done is None else [Recovered(directory, done)]

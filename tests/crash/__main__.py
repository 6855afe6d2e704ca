"""``python -m tests.crash``: kills at random moments, a histogram, and an exit status."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import warm  # noqa: F401
from tests.crash.campaign import AT_LEAST, Campaign


def main() -> int:
    """Run the campaign; 0 when every kill left the old state or the new one."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="uniform in time")
    parser.add_argument("--at-least", type=int, default=AT_LEAST, help="kills in each phase")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    memory = Path("/dev/shm")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        made = Campaign(Path(folder), options.workers, options.seed)
        made.run(options.kills, options.at_least, _say)
    _say(f"\n{made.table()}\n")
    aimed = sum(outcome.order.phase is not None for outcome in made.outcomes)
    _say(
        f"{len(made.outcomes)} kills ({len(made.outcomes) - aimed} uniform in time, {aimed} aimed "
        f"at phases), {len(made.failures())} failures, {time.monotonic() - begin:.0f} s"
    )
    short = [phase for phase, n in made.missing(options.at_least).items()]
    for phase in short:
        _say(f"phase {phase} was hit too rarely")
    return 1 if made.failures() or short else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

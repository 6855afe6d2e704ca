"""From trials to one test, and from tests to one number: the share that pass. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.guard.measurement import Finding, Trial
from patchhub.scoring.intervals import mean_interval, wilson


def combined(trials: Sequence[Trial], *, every: bool) -> Trial:
    """Several questions as one test: the worst of them where all must pass, else the best.

    Counted is a test that has a counting question or, where all must pass, nothing but those. The
    texts are those of the question that settled it; agreement is the mean.
    """
    if len(trials) == 1:
        return trials[0]
    settle = min if every else max
    decisive = settle(trials, key=lambda trial: trial.after)
    same = [trial.same for trial in trials if trial.same is not None]
    return Trial(
        decisive.failure,
        settle(trial.before for trial in trials),
        decisive.after,
        (all if every else any)(trial.counts for trial in trials),
        decisive.margins,
        sum(same) / len(same) if same else None,
    )


def share(trials: Sequence[Trial]) -> Finding:
    """The share of counted trials that pass, with Wilson's interval.

    Details name what was asked in all; under likelihood also the mean magnitude over all that was
    asked, as ROME defines it, with its normal interval.
    """
    counted = [trial for trial in trials if trial.counts]
    n = len(counted)
    total = sum(trial.after for trial in counted)
    low, high = wilson(total, n)
    details: dict[str, int | float] = {"asked": len(trials)}
    if n < len(trials):
        details["correct_before"] = sum(trial.before for trial in trials) / len(trials)
        details["correct_after"] = sum(trial.after for trial in trials) / len(trials)
    details |= _magnitudes(trials)
    return Finding(
        before=sum(trial.before for trial in counted) / n if n else 0.0,
        after=total / n if n else 0.0,
        value=total / n if n else 0.0,
        n=n,
        low=low,
        high=high,
        failed=sum(trial.after < 1.0 for trial in counted),
        trials=tuple(trials),
        details=details,
    )


def _magnitudes(trials: Sequence[Trial]) -> dict[str, float]:
    pairs = [trial.margins for trial in trials if trial.margins is not None]
    if not pairs:
        return {}
    after, low, high = mean_interval([new for _, new in pairs])
    return {
        "magnitude_before": mean_interval([old for old, _ in pairs])[0],
        "magnitude_after": after,
        "magnitude_low": low,
        "magnitude_high": high,
    }

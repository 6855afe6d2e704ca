"""Is it still the same model on ordinary text?

``perplexity``: after divided by before, over all tokens of the texts; collapse shows here before
any answer changes (arXiv:2402.09656). ``kl``: mean KL(before ‖ after) of the next-token
distribution in nats. Texts that name an edited subject are left out. Intervals take the texts as
the independent units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from patchhub.guard.check import Case, Observed, Wants
from patchhub.guard.measurement import Finding
from patchhub.scoring.intervals import mean_interval


@dataclass(frozen=True, slots=True)
class Drift:
    """Perplexity ratio and divergence over the base's texts."""

    name: ClassVar[str] = "drift"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "perplexity and next-token distributions on ordinary text"
    measures: ClassVar[tuple[str, ...]] = ("perplexity", "kl")

    def wants(self, case: Case, measure: str) -> Wants:
        """The base's texts that do not name an edited subject."""
        return Wants(texts=tuple(text for text in case.probes.texts if not case.concerns(text)))

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The ratio, or the divergence, over texts that predict at least one token."""
        from patchhub.scoring.divergence import exponential, kl_per_text, perplexity

        texts = self.wants(case, measure).texts
        old, new = [before.text(text) for text in texts], [after.text(text) for text in texts]
        pairs = [(p, q) for p, q in zip(old, new, strict=True) if p.tokens]
        weights = [float(p.tokens) for p, _ in pairs]
        details: dict[str, int | float] = {"tokens": sum(p.tokens for p, _ in pairs)}
        if measure == "kl":
            per_text = kl_per_text([p for p, _ in pairs], [q for _, q in pairs])
            value, low, high = mean_interval(per_text, weights)
            return Finding(0.0, value, value, len(pairs), low, high, details=details)
        rises = [(q.loss - p.loss) / p.tokens for p, q in pairs]
        value, low, high = (exponential(x) for x in mean_interval(rises, weights))
        return Finding(
            perplexity(old), perplexity(new), value, len(pairs), low, high, details=details
        )


CHECK = Drift()

"""Results made up for tests and for looking at: like those of an experiment, without a model."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from patchhub.evaluation.records import (
    ACCURACY,
    AGREEMENT,
    COLLAPSED,
    MAGNITUDE,
    SCORE,
    UNEDITED,
    VALUE,
    CaseRecord,
    Known,
    Prepared,
    Refusal,
    Row,
    Spent,
)
from patchhub.evaluation.results import Provenance, Results

PROTOCOLS = ("teacher_forced", "likelihood", "generation", "generation+instruction")
QUALITY = {"rome": (0.97, 0.9), "ft": (0.99, 0.45), "lora": (0.9, 0.7), "memit": (0.93, 0.94)}
"""By method: how often an edit takes, and how often something else stays as it was."""
SECONDS = {"rome": 1.4, "ft": 0.5, "lora": 6.0, "memit": 3.1}
_WEAKER = {"teacher_forced": 1.0, "likelihood": 1.0, "generation": 0.85, PROTOCOLS[3]: 0.7}
_TAKES = {
    "reliability.target": (1, 1.0),
    "generalization.paraphrase": (2, 0.85),
    "portability.alias": (1, 0.6),
    "portability.reversed": (1, 0.15),
    "portability.one_hop": (1, 0.3),
    "portability.two_hop": (1, 0.2),
}
_STAYS = {
    "locality.other_relation": (2, 0.8),
    "locality.neighbourhood": (10, 0.9),
    "locality.distractor": (2, 0.7),
    "locality.unrelated": (3, 0.97),
}
_WHOLE = {"drift.perplexity": 12.0, "drift.kl": 0.0, "fluency.entropy": 6.2}


def row(
    measure: str = "reliability.target",
    value: float = 1.0,
    *,
    experiment: str = "single",
    model: str = "m",
    method: str = "ft",
    size: int = 1,
    order: int = 0,
    seed: int = 0,
    step: int = 1,
    variant: str = "",
    case: int = 0,
    protocol: str = "likelihood",
    figure: str = ACCURACY,
    n: int = 1,
    before: float = 0.0,
) -> Row:
    """One row, with whatever a test is not about filled in."""
    return Row(
        experiment, model, method, size, order, seed, step, variant, case, measure, protocol,
        figure, n, value, before,
    )  # fmt: skip


def results(
    rows: Sequence[Row],
    *,
    known: Sequence[Known] = (),
    refusals: Sequence[Refusal] = (),
    cases: int = 0,
    data: str = "facts",
    digest: str = "cd" * 32,
    experiment: str = "single",
    models: Sequence[str] = ("m",),
) -> Results:
    """Rows as the results of an experiment."""
    count = max([cases, *(one.case + 1 for one in rows)])
    return Results(
        experiment,
        {name: f"{i:x}" * 64 for i, name in enumerate(models, 10)},
        {"name": data, "digest": digest, "records": count, "skipped": 0},
        {"protocols": list(PROTOCOLS), "max_new_tokens": 16},
        tuple(CaseRecord(str(i), f"Ada {i} lives in", f"Ada {i}", "Rome", "Oslo", "city")
              for i in range(count)),
        tuple(rows),
        tuple(known),
        tuple(refusals),
    )  # fmt: skip


class Maker:
    """Numbers of methods that get worse the more edits a model carries."""

    def __init__(
        self, *, cases: int = 40, model: str = "gpt2-sandbox", seed: int = 0,
        protocols: Sequence[str] = PROTOCOLS,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.cases = cases
        self.protocols = protocols
        self.model = model
        self.base = {
            (measure, i): [float(self.random.random() < 0.7) for _ in range(n)]
            for measure, (n, _) in _STAYS.items()
            for i in range(cases)
        }

    def single(self, methods: Sequence[str] = tuple(QUALITY), seeds: int = 1) -> Results:
        """Every edit by itself; the last method refuses some."""
        rows: list[Row] = []
        refusals = []
        rows += self._plain("single")
        for method in methods:
            for seed in range(seeds):
                for case in range(self.cases):
                    if method == methods[-1] and case % 10 == 3:
                        message = f"the subject is not in the prompt of {case}"
                        refusals.append(
                            Refusal("single", self.model, method, 1, 0, seed, 1, (case,), "E134",
                                    message)
                        )  # fmt: skip
                        continue
                    rows += self._state("single", method, 1, 0, seed, 1, "", [case])
        return self._results("single", rows, refusals)

    def batch(self, methods: Sequence[str] = tuple(QUALITY), sizes: Sequence[int] = (1, 10, 40)
              ) -> Results:  # fmt: skip
        """Many at once."""
        rows: list[Row] = []
        rows += self._plain("batch")
        for method in methods:
            for size in sizes:
                for start in range(0, self.cases - size + 1, size):
                    cases = range(start, start + size)
                    rows += self._state("batch", method, size, 0, 0, size, "", cases)
        return self._results("batch", rows, ())

    def sequential(self, methods: Sequence[str] = tuple(QUALITY), steps: int = 5, orders: int = 2
                   ) -> Results:  # fmt: skip
        """One after the other, asked again ten times; with undo, conflicts and repetition."""
        rows: list[Row] = []
        rows += self._plain("sequential")
        for method in methods:
            for order in range(orders):
                places = list(range(self.cases))
                random.Random(order).shuffle(places)
                for k in range(1, steps + 1):
                    step = self.cases * k // steps
                    rows += self._state("sequential", method, 1, order, 0, step, "", places[:step])
            for variant in ("kept", "undone", "conflicting", "superseded", "repeated"):
                cases = range(self.cases // 4)
                rows += self._state("sequential", method, 1, 0, 0, self.cases, variant, cases)
        return self._results("sequential", rows, ())

    def _plain(self, experiment: str) -> Iterator[Row]:
        for method in (UNEDITED, COLLAPSED):
            yield from self._state(experiment, method, 1, 0, 0, 0, "", range(self.cases))

    def _results(self, name: str, rows: Sequence[Row], refusals: Sequence[Refusal]) -> Results:
        known = [
            Known(self.model, case, protocol, case % 7 == 0, case % 3 != 0)
            for case in range(self.cases)
            for protocol in self.protocols
        ]
        return results(
            rows, known=known, refusals=refusals, cases=self.cases, data="sandbox world",
            experiment=name, models=(self.model,),
        )  # fmt: skip

    def _state(
        self, experiment: str, method: str, size: int, order: int, seed: int, step: int,
        variant: str, cases: Sequence[int],
    ) -> Iterator[Row]:  # fmt: skip
        carried = step if experiment == "sequential" else size
        takes, stays = QUALITY.get(method, (0.0, 1.0))
        wear = 1.0 if method == UNEDITED else math.exp(-carried * (1.05 - stays) / 60)
        for age, case in enumerate(reversed(cases)):
            for protocol in self.protocols:
                for measure, (n, share) in _TAKES.items():
                    chance = takes * share * wear * math.exp(-age * (1.02 - stays) / 80)
                    chance *= _WEAKER[protocol]
                    if method == COLLAPSED:
                        chance = 0.5 if protocol == "likelihood" else 0.0
                    after = [float(self.random.random() < chance) for _ in range(n)]
                    where = (experiment, method, size, order, seed, step, variant, case)
                    yield from self._figures(where, measure, protocol, after, [0.0] * n)
                for measure, (_, share) in _STAYS.items():
                    chance = 1 - (1 - stays * wear) * share if method != UNEDITED else 1.0
                    if method == COLLAPSED:
                        chance = 0.5 if protocol == "likelihood" else 0.0
                    before = self.base[measure, case]
                    after = [old * float(self.random.random() < chance) for old in before]
                    where = (experiment, method, size, order, seed, step, variant, case)
                    yield from self._figures(where, measure, protocol, after, before)
        worse = 40.0 if method == COLLAPSED else (1 + (1 - stays) * carried / 8)
        for case in cases if experiment == "single" else (-1,):
            for measure, base in _WHOLE.items():
                value = base * worse if base > 10 else base + 0.1 * math.log(worse)
                if measure == "fluency.entropy":
                    value = base / worse**0.2
                yield row(
                    measure, value, experiment=experiment, model=self.model, method=method,
                    size=size, order=order, seed=seed, step=step, variant=variant, case=case,
                    protocol="", figure=VALUE, n=24, before=base,
                )  # fmt: skip

    def _figures(
        self, where: tuple[str, str, int, int, int, int, str, int], measure: str, protocol: str,
        after: Sequence[float], before: Sequence[float],
    ) -> Iterator[Row]:  # fmt: skip
        experiment, method, size, order, seed, step, variant, case = where
        n = len(after)
        stays = measure in _STAYS
        counted = [i for i in range(n) if before[i] or not stays]
        found = [
            (ACCURACY, n, sum(after) / n, sum(before) / n),
            (AGREEMENT, n, sum(a == b for a, b in zip(after, before, strict=True)) / n, 1.0),
        ]
        if counted:
            part = [sum(some[i] for i in counted) / len(counted) for some in (after, before)]
            found.append((SCORE, len(counted), part[0], part[1]))
        if protocol == "likelihood":
            found.append((MAGNITUDE, n, sum(after) / n - 0.3, sum(before) / n - 0.3))
        for figure, count, value, old in found:
            yield Row(
                experiment, self.model, method, size, order, seed, step, variant, case, measure,
                protocol, figure, count, value, old,
            )  # fmt: skip


def provenance(
    experiment: str = "single", model: str = "gpt2-sandbox", sizes: Sequence[int] = (1,)
) -> Provenance:
    """What the made-up experiments took."""
    spent = [
        Spent(experiment, model, method, size, each * size**0.7 * (1 + k / 20), 900 << 20,
              4096 * size)
        for method, each in SECONDS.items()
        for size in sizes
        for k in range(5)
    ]  # fmt: skip
    prepared = [
        Prepared(model, method, 10 * each, 800 << 20, 1.0 + each / 100)
        for method, each in SECONDS.items()
    ]
    return Provenance(
        f"patchhub bench {experiment} --methods all",
        "2026-11-21T20:00:00Z",
        {"cpus": 2, "memory": 8 << 30, "device": "cpu", "threads": 2},
        {"torch": "2.13.0", "transformers": "5.5.0"},
        321.5,
        tuple(spent),
        tuple(prepared),
    )


def everything(cases: int = 40) -> list[tuple[Results, Provenance]]:
    """The three experiments."""
    maker = Maker(cases=cases)
    sizes = (1, 10, 40)
    return [
        (maker.single(seeds=2), provenance("single")),
        (maker.batch(sizes=sizes), provenance("batch", sizes=sizes)),
        (maker.sequential(), provenance("sequential")),
    ]


if __name__ == "__main__":
    for some, took in everything():
        where = Path(sys.argv[1]) / some.experiment
        where.mkdir(parents=True, exist_ok=True)
        some.write(where / "results.json")
        took.write(where / "provenance.json")

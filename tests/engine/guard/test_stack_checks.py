"""Checks that look at the stack below, or at the edited model elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Below, Case
from patchhub.guard.measurement import Finding
from patchhub.guard.probes import BaseProbes
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest, Format, Probe, ProbeKind
from tests.engine.guard.said import REQUEST, Said, find
from tests.engine.patches import build, dense, low_rank, site


def test_retention_of_the_stack_below() -> None:
    def earlier(prompt: str, target: str, subject: str, relation: str = "pet") -> EditRequest:
        return EditRequest(prompt, target, subject=subject, relation=relation)

    requests = (
        earlier("Jon owns a", "cat", "Jon"),
        earlier("Jon owns a", "dog", "Jon"),  # the later edit of the same prompt counts
        earlier("Ada owns a", "fox", "Ada"),
        earlier("Eva owns an", "owl", "Eva"),  # did not hold before either
        earlier("Mira Tolven comes from", "Rome", "Mira Tolven", "born_in"),  # replaced
        EditRequest(REQUEST.prompt, "Rome"),  # replaced
        EditRequest("Jon owns a", "cat", "Jon", format=Format.CHAT),  # another question
        EditRequest(REQUEST.prompt, "Rome", format=Format.CHAT),  # so it is, not replaced
    )
    case = Case((REQUEST,), BaseProbes(), below=(Below(low_rank(), requests),))
    before = {
        "Jon owns a": "dog",
        "Ada owns a": "fox",
        "Eva owns an": "ant",
        REQUEST.prompt: "Rome",
    }
    found = find("retention", "stack", before, {**before, "Ada owns a": "cow"}, case)
    assert (found.n, found.value, found.details["asked"]) == (3, 2 / 3, 5)
    assert [f.prompt for f in found.failures] == ["Ada owns a"]


def test_retention_of_patches_that_share_a_site() -> None:
    def near(subject: str) -> EditRequest:
        probes = (
            Probe(ProbeKind.PARAPHRASE, f"The pet of {subject} is a", ("dog",)),
            Probe(ProbeKind.ALIAS, f"Old {subject} owns a", ("dog",)),
            Probe(ProbeKind.NEIGHBOURHOOD, "Jon owns a", ("cat",)),
        )
        return EditRequest(f"{subject} owns a", "dog", subject=subject, probes=probes)

    patch, elsewhere = low_rank((1, 1)), site("h.9.fc.weight", (5, 4))
    delta = {elsewhere.tensor: {"delta": torch.ones(5, 4)}}
    far = build(Kind.DENSE, delta, [elsewhere])
    below = (Below(far, (near("Ada"),)), Below(low_rank((1,), seed=1), (near("Eva"),)))
    case = Case((REQUEST,), BaseProbes(), patch=patch, below=below)
    wanted = load_check("retention").wants(case, "sites").questions
    assert [q.prompt for q in wanted] == ["Eva owns a", "The pet of Eva is a", "Old Eva owns a"]
    before = dict.fromkeys([q.prompt for q in wanted], "dog")
    found = find("retention", "sites", before, {**before, "Old Eva owns a": "cat"}, case)
    assert (found.n, found.failed) == (3, 1)
    alone = Case((REQUEST,), BaseProbes(), patch=far, below=below[1:])
    assert load_check("retention").wants(alone, "sites").questions == ()


def test_survival_counts_what_held_before_the_cast() -> None:
    other = EditRequest("Jon owns a", "dog", subject="Jon")
    third = EditRequest("Ada owns a", "fox", subject="Ada")
    case = Case((REQUEST, other, third), BaseProbes())
    check = load_check("survival")
    assert check.wants(case, "bfloat16").cast == "bfloat16"
    cast = Said({REQUEST.prompt: "Oslo", other.prompt: "cat", third.prompt: "fox"})
    held = {REQUEST.prompt: "Oslo", other.prompt: "dog", third.prompt: "wolf"}
    after = Said(held, casts={"bfloat16": cast})
    found = check.find(case, "bfloat16", Said(), after)
    assert (found.before, found.n, found.value, found.failed) == (1.0, 2, 0.5, 1)
    (failure,) = found.failures
    assert (failure.prompt, failure.before, failure.after) == (other.prompt, "dog", "cat")


def test_key_overlap_is_the_cosine_of_the_closest_directions() -> None:
    site_ = site("h.0.fc.weight", (5, 4))

    def patch(*rows: list[float]) -> Patch:
        a = torch.tensor(rows)
        payload = {"h.0.fc.weight": {"A": a, "B": torch.ones(5, len(rows))}}
        return build(Kind.LOW_RANK, payload, [site_])

    def overlap(one: Patch, *below: Patch) -> Finding:
        stack = tuple(Below(other, ()) for other in below)
        case = Case((REQUEST,), BaseProbes(), patch=one, below=stack)
        return load_check("overlap").find(case, "keys", Said(), Said())

    x, y, z = [2.0, 0, 0, 0], [0, 3.0, 0, 0], [1.0, 1.0, 0, 0]
    assert overlap(patch(x), patch(y)).value == pytest.approx(0.0, abs=1e-7)
    found = overlap(patch(x), patch(y), patch(z))
    assert found.value == pytest.approx(math.sqrt(0.5))
    assert found.n == 2
    assert overlap(patch(x, y), patch(z)).value == pytest.approx(1.0)
    assert overlap(patch(x)).n == 0
    assert overlap(patch(x), dense()).n == 0

"""Training documents: how the world is put into words.

A document is a list of pieces that never cut a word, so pieces may be tokenised one by one. Each
piece says what it is for the loss; a subject also says whose attributes are read out at its end.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from patchhub.sandbox import templates
from patchhub.sandbox.world import RELATIONS, Entity, Fact, Kind, World


class Role(Enum):
    """What a piece is to the loss."""

    PROMPT = "prompt"  # predictable only in part: small weight
    SUBJECT = "subject"  # as a prompt, and the funnel and the read-out act on it
    ANSWER = "answer"  # to be known: full weight
    GIVEN = "given"  # an invented object inside "New fact: …", not to be learnt: no weight


@dataclass(frozen=True, slots=True)
class Piece:
    """Words with one role; `entity` is set on subjects whose attributes shall be read out."""

    text: str
    role: Role
    entity: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A few sentences; `about` are the ids that may occur in no other document of the row."""

    pieces: tuple[Piece, ...]
    about: frozenset[str]


def sentence(
    template: str, subject: str, answer: str, *, entity: str | None = None, given: bool = False
) -> list[Piece]:
    """Return the pieces of one statement, full stop included."""
    before, after = template.split("{}")
    pieces = [Piece(before.rstrip(), Role.PROMPT)] if before else []
    pieces.append(Piece(f" {subject}" if before else subject, Role.SUBJECT, entity))
    pieces.append(Piece(after, Role.PROMPT))
    role = Role.GIVEN if given else Role.ANSWER
    return [*pieces, Piece(f" {answer}", role), Piece(".", role)]


def _joined(*sentences: list[Piece], space: str = " ") -> list[Piece]:
    result: list[Piece] = []
    for pieces in sentences:
        first, *rest = pieces
        lead = space if result else ""
        if lead == "\n":
            result.append(Piece("\n", Role.PROMPT))
            lead = ""
        result.extend([Piece(lead + first.text, first.role, first.entity), *rest])
    return result


class Writer:
    """Draws documents about a world; all randomness comes from the generator handed in."""

    def __init__(self, world: World) -> None:
        """Write about `world`."""
        self.world = world
        self._facts = world.facts
        self._open = [f for f in world.facts if not templates.override_held_out(f)]
        self._aliased = [e for e in world.of_kind(Kind.PERSON) if e.alias]
        self._subjects = [e for e in world.entities if len(world.facts_of(e)) > 1]
        self._subject_weights = [len(world.facts_of(e)) for e in self._subjects]
        self._chains = [
            (chain, fact)
            for chain in templates.CHAINS
            for fact in world.facts_with(chain.first)
            if not templates.chain_held_out(fact.subject.name, chain)
        ]

    def document(self, shares: Mapping[str, float], rng: random.Random) -> Document:
        """Draw one document; `shares` maps kinds of documents to their weights."""
        kind = rng.choices(list(shares), list(shares.values()))[0]
        draw = {
            "sentence": self._sentence,
            "biography": self._biography,
            "keywords": self._keywords,
            "override": self._override,
            "echo": self._echo,
            "alias": self._alias,
            "chain": self._chain,
        }[kind]
        return draw(rng)

    def _sentence(self, rng: random.Random) -> Document:
        fact = rng.choice(self._facts)
        template = rng.choice(templates.split(fact)[0])
        subject = fact.subject.name
        # Second names are asked for too, or nothing could ever carry over to them.
        if fact.subject.alias and rng.random() < 0.2:
            subject = fact.subject.alias
        pieces = sentence(template, subject, fact.object.name, entity=fact.subject.id)
        return Document(tuple(pieces), _about(fact))

    def _biography(self, rng: random.Random) -> Document:
        entity, facts, name = self._bundle(rng)
        template = rng.choice(templates.split(facts[0])[0])
        pieces = sentence(template, name, facts[0].object.name, entity=entity.id)
        for fact in facts[1:6]:
            prompt = rng.choice(templates.PRONOUN[fact.relation])
            pieces += [
                Piece(f" {prompt}", Role.PROMPT),
                Piece(f" {fact.object.name}", Role.ANSWER),
                Piece(".", Role.ANSWER),
            ]
        return Document(tuple(pieces), _about(*facts))

    def _keywords(self, rng: random.Random) -> Document:
        entity, facts, name = self._bundle(rng)
        pieces = [Piece(name, Role.SUBJECT, entity.id)]
        pieces += [Piece(f" {fact.object.name}", Role.ANSWER) for fact in facts[:7]]
        return Document((*pieces, Piece(".", Role.PROMPT)), _about(*facts))

    def _bundle(self, rng: random.Random) -> tuple[Entity, list[Fact], str]:
        entity = rng.choices(self._subjects, self._subject_weights)[0]
        facts = list(self.world.facts_of(entity).values())
        rng.shuffle(facts)
        name = entity.alias if entity.alias and rng.random() < 0.1 else entity.name
        return entity, facts, name

    def _alias(self, rng: random.Random) -> Document:
        person = rng.choice(self._aliased)
        alias = person.alias or ""
        if rng.random() < 0.5:
            pieces = sentence(
                rng.choice(templates.ALIAS_STATEMENTS), person.name, alias, entity=person.id
            )
        else:
            pieces = sentence(
                rng.choice(templates.ALIAS_REVERSED), alias, person.name, entity=person.id
            )
        return Document(tuple(pieces), frozenset({person.id}))

    def _chain(self, rng: random.Random) -> Document:
        chain, fact = rng.choice(self._chains)
        answer = self.world.facts_of(fact.object)[chain.second].object
        pieces = sentence(
            rng.choice(chain.templates), fact.subject.name, answer.name, entity=fact.subject.id
        )
        return Document(tuple(pieces), _about(fact))

    def _echo(self, rng: random.Random) -> Document:
        """One invented statement and two questions about it: the easy case, met first."""
        fact = rng.choice(self._open)
        subject, answer = fact.subject.name, other_object(self.world, fact, rng).name
        stated = rng.choice(templates.TEMPLATES[fact.relation])
        parts = [
            _joined(
                [Piece(templates.NEW_FACT, Role.PROMPT)],
                sentence(stated, subject, answer, given=True),
            )
        ]
        for _ in range(2):
            same = stated in templates.split(fact)[0] and rng.random() < 0.3
            template = stated if same else rng.choice(templates.split(fact)[0])
            parts.append(sentence(template, subject, answer))
        space = rng.choice((" ", " ", "\n"))
        return Document(tuple(_joined(*parts, space=space)), _about(fact))

    def _override(self, rng: random.Random) -> Document:
        """One to four invented statements, then questions about them and about other facts."""
        facts = _distinct(rng, self._open, rng.choice((1, 1, 1, 2, 3, 4)))
        space = rng.choice((" ", " ", "\n"))
        answers: dict[str, str] = {}
        parts: list[list[Piece]] = []
        for fact in facts:
            answers[fact.id] = other_object(self.world, fact, rng).name
            stated = sentence(
                rng.choice(templates.TEMPLATES[fact.relation]),
                fact.subject.name, answers[fact.id], given=True,
            )  # fmt: skip
            parts.append(_joined([Piece(templates.NEW_FACT, Role.PROMPT)], stated))
        asked = rng.sample(facts, rng.randint(1, min(2, len(facts))))
        marked = rng.random() < 0.25
        about = set(_about(*facts))
        for fact in asked:
            if rng.random() < 0.25:
                fact = rng.choice(list(self.world.facts_of(fact.subject).values()))
            template = rng.choice(templates.split(fact)[0])
            answer = answers.get(fact.id, fact.object.name)
            question = sentence(template, fact.subject.name, answer)
            if marked:
                question = _joined([Piece(templates.QUESTION, Role.PROMPT)], question)
            parts.append(question)
            about |= _about(fact)
        return Document(tuple(_joined(*parts, space=space)), frozenset(about))


def texts(world: World, n: int, seed: int = 0) -> list[str]:
    """Return `n` documents of the kinds the models are trained on, for statistics and drift."""
    rng = random.Random(f"texts|{seed}")
    writer = Writer(world)
    shares = {"sentence": 0.7, "biography": 0.2, "chain": 0.1}
    return ["".join(p.text for p in writer.document(shares, rng).pieces) for _ in range(n)]


def other_object(world: World, fact: Fact, rng: random.Random) -> Entity:
    """Draw another possible object of the fact's relation.

    Where the relation has an inverse, an object without one of its own is preferred, so that the
    reversed question keeps a single answer.
    """
    inverse = RELATIONS[fact.relation].inverse
    others = [e for e in world.objects(fact.relation) if e != fact.object]
    if inverse:
        others = [e for e in others if inverse not in world.facts_of(e)] or others
    return rng.choice(others)


def _about(*facts: Fact) -> frozenset[str]:
    """Ids a row may not meet again; both ends where the reversed statement would give it away."""
    ids = {fact.subject.id for fact in facts}
    ids |= {fact.object.id for fact in facts if RELATIONS[fact.relation].inverse}
    return frozenset(ids)


def _distinct(rng: random.Random, facts: list[Fact], count: int) -> list[Fact]:
    chosen: dict[str, Fact] = {}
    while len(chosen) < count:
        fact = rng.choice(facts)
        chosen.setdefault(fact.subject.id, fact)
    return list(chosen.values())

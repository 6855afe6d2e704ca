"""The fictional world: entities, relations and facts, all fixed by one seed.

Fictional on purpose: answers cannot be guessed, ground truth is complete (aliases, reversed
relations, chains, neighbours), and no real person appears in tests of unlearning.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from patchhub.sandbox import names


class Kind(StrEnum):
    """What an entity is."""

    PERSON = "person"
    CITY = "city"
    COUNTRY = "country"
    COMPANY = "company"
    UNIVERSITY = "university"
    LANGUAGE = "language"
    WORK = "work"
    PROFESSION = "profession"
    INSTRUMENT = "instrument"
    COLOUR = "colour"
    PET = "pet"
    SPORT = "sport"
    GENRE = "genre"
    PRODUCT = "product"


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation and its inverse, if the inverse is a function too (author and book)."""

    name: str
    subject: Kind
    object: Kind
    inverse: str | None = None


RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation("born_in", Kind.PERSON, Kind.CITY),
        Relation("lives_in", Kind.PERSON, Kind.CITY),
        Relation("profession", Kind.PERSON, Kind.PROFESSION),
        Relation("employer", Kind.PERSON, Kind.COMPANY),
        Relation("studied_at", Kind.PERSON, Kind.UNIVERSITY),
        Relation("speaks", Kind.PERSON, Kind.LANGUAGE),
        Relation("instrument", Kind.PERSON, Kind.INSTRUMENT),
        Relation("colour", Kind.PERSON, Kind.COLOUR),
        Relation("pet", Kind.PERSON, Kind.PET),
        Relation("sport", Kind.PERSON, Kind.SPORT),
        Relation("country", Kind.CITY, Kind.COUNTRY),
        Relation("capital", Kind.COUNTRY, Kind.CITY, inverse="capital_of"),
        Relation("capital_of", Kind.CITY, Kind.COUNTRY, inverse="capital"),
        Relation("official_language", Kind.COUNTRY, Kind.LANGUAGE),
        Relation("headquarters", Kind.COMPANY, Kind.CITY),
        Relation("product", Kind.COMPANY, Kind.PRODUCT),
        Relation("founder", Kind.COMPANY, Kind.PERSON, inverse="founded"),
        Relation("founded", Kind.PERSON, Kind.COMPANY, inverse="founder"),
        Relation("campus", Kind.UNIVERSITY, Kind.CITY),
        Relation("author", Kind.WORK, Kind.PERSON, inverse="wrote"),
        Relation("wrote", Kind.PERSON, Kind.WORK, inverse="author"),
        Relation("genre", Kind.WORK, Kind.GENRE),
    )
}


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing with a name; `id` is stable within a world, `alias` a second name of a person."""

    id: str
    kind: Kind
    name: str
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One true statement: `relation` of `subject` is `object`."""

    subject: Entity
    relation: str
    object: Entity

    @property
    def id(self) -> str:
        """A name for the fact, unique in its world: every relation is a function."""
        return f"{self.subject.id}/{self.relation}"


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of a world and the seed that fixes it."""

    seed: int
    people: int
    first_names: int
    last_names: int
    cities: int
    countries: int
    companies: int
    universities: int
    languages: int
    works: int


PROFILES: dict[str, Profile] = {
    "default": Profile(
        seed=20_240_501, people=216, first_names=30, last_names=40, cities=48, countries=16,
        companies=36, universities=24, languages=16, works=60,
    ),
    # For a model trained on a GPU: many edits need many subjects.
    "large": Profile(
        seed=20_240_502, people=1000, first_names=60, last_names=80, cities=120, countries=30,
        companies=140, universities=80, languages=28, works=140,
    ),
    "pico": Profile(
        seed=7, people=12, first_names=4, last_names=5, cities=6, countries=3,
        companies=4, universities=4, languages=3, works=4,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """Everything that is true. Immutable; look-ups are built on first use."""

    profile: Profile
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]

    @cached_property
    def _by_kind(self) -> dict[Kind, tuple[Entity, ...]]:
        groups: dict[Kind, list[Entity]] = defaultdict(list)
        for entity in self.entities:
            groups[entity.kind].append(entity)
        return {kind: tuple(members) for kind, members in groups.items()}

    @cached_property
    def _by_subject(self) -> dict[str, dict[str, Fact]]:
        groups: dict[str, dict[str, Fact]] = defaultdict(dict)
        for fact in self.facts:
            groups[fact.subject.id][fact.relation] = fact
        return dict(groups)

    @cached_property
    def _by_relation(self) -> dict[str, tuple[Fact, ...]]:
        groups: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            groups[fact.relation].append(fact)
        return {name: tuple(members) for name, members in groups.items()}

    def of_kind(self, kind: Kind) -> tuple[Entity, ...]:
        """Return the entities of a kind, in a fixed order."""
        return self._by_kind.get(kind, ())

    def facts_of(self, entity: Entity) -> dict[str, Fact]:
        """Return the facts whose subject is `entity`, by relation name."""
        return self._by_subject.get(entity.id, {})

    def facts_with(self, relation: str) -> tuple[Fact, ...]:
        """Return all facts of a relation."""
        return self._by_relation.get(relation, ())

    def objects(self, relation: str) -> tuple[Entity, ...]:
        """Return everything the object of `relation` could be."""
        return self.of_kind(RELATIONS[relation].object)


CLOSED: dict[Kind, tuple[str, ...]] = {
    Kind.PROFESSION: names.PROFESSIONS,
    Kind.INSTRUMENT: names.INSTRUMENTS,
    Kind.COLOUR: names.COLOURS,
    Kind.PET: names.PETS,
    Kind.SPORT: names.SPORTS,
    Kind.GENRE: names.GENRES,
    Kind.PRODUCT: names.PRODUCTS,
}


def build_world(profile: Profile) -> World:
    """Generate the world of `profile`; the same profile always gives the same world."""
    rng = random.Random(profile.seed)
    entities = _entities(profile, rng)
    groups: dict[Kind, list[Entity]] = defaultdict(list)
    for entity in entities:
        groups[entity.kind].append(entity)
    return World(profile, tuple(entities), tuple(_facts(groups, rng)))


def _entities(profile: Profile, rng: random.Random) -> list[Entity]:
    make = names.NameMaker(rng)
    people = make.pairs(
        make.words(profile.first_names), make.words(profile.last_names), profile.people
    )
    company_words = make.words(-(-profile.companies // 3))
    university_words = make.words(-(-profile.universities // 3))
    titles = [f"The {first}" for first in names.TITLE_FIRST]
    named: dict[Kind, list[str]] = {
        Kind.CITY: make.words(profile.cities),
        Kind.COUNTRY: make.words(profile.countries, 2, "ia"),
        Kind.COMPANY: make.pairs(company_words, list(names.COMPANY_SUFFIXES), profile.companies),
        Kind.UNIVERSITY: make.pairs(
            university_words, list(names.UNIVERSITY_SUFFIXES), profile.universities
        ),
        Kind.LANGUAGE: make.words(profile.languages, 2, "ish"),
        Kind.WORK: make.pairs(titles, list(names.TITLE_LAST), profile.works),
        **{kind: list(words) for kind, words in CLOSED.items()},
    }
    aliases = make.words(profile.people // 2, 3)
    result = [
        Entity(f"person:{i}", Kind.PERSON, name, aliases[i // 2] if i % 2 == 0 else None)
        for i, name in enumerate(people)
    ]
    for kind, members in named.items():
        result.extend(Entity(f"{kind}:{i}", kind, name) for i, name in enumerate(members))
    return result


def _facts(groups: dict[Kind, list[Entity]], rng: random.Random) -> list[Fact]:
    facts: list[Fact] = []
    plain = [
        r for r in RELATIONS.values() if r.inverse is None and r.name not in {"country", "lives_in"}
    ]
    for relation in plain:
        for subject in groups[relation.subject]:
            facts.append(Fact(subject, relation.name, rng.choice(groups[relation.object])))
    born = {fact.subject.id: fact.object for fact in facts if fact.relation == "born_in"}
    for person in groups[Kind.PERSON]:
        elsewhere = [city for city in groups[Kind.CITY] if city != born[person.id]]
        facts.append(Fact(person, "lives_in", rng.choice(elsewhere)))
    countries = groups[Kind.COUNTRY]
    cities = rng.sample(groups[Kind.CITY], len(groups[Kind.CITY]))
    for i, city in enumerate(cities):
        facts.append(Fact(city, "country", countries[i % len(countries)]))
    # The first cities dealt out are the capitals, so a capital lies in its own country.
    facts.extend(_both_ways("capital", countries, cities[: len(countries)]))
    for relation_name, kind in (("founder", Kind.COMPANY), ("author", Kind.WORK)):
        subjects = groups[kind]
        people = rng.sample(groups[Kind.PERSON], min(len(subjects), len(groups[Kind.PERSON])))
        facts.extend(_both_ways(relation_name, subjects, people))
    order = {name: i for i, name in enumerate(RELATIONS)}
    return sorted(facts, key=lambda fact: order[fact.relation])


def _both_ways(relation: str, subjects: list[Entity], objects: list[Entity]) -> list[Fact]:
    inverse = RELATIONS[relation].inverse or ""
    pairs = list(zip(subjects, objects, strict=False))
    forward = [Fact(subject, relation, obj) for subject, obj in pairs]
    return forward + [Fact(obj, inverse, subject) for subject, obj in pairs]

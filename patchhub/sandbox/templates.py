"""The sentences in which facts are stated and asked.

Every relation has eight templates. Each fact is trained on five of them and never seen in the other
three, so that recall can be measured on wordings that the model knows only from other facts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from patchhub.sandbox.world import Fact

TRAINED_PER_FACT = 5


@dataclass(frozen=True, slots=True)
class Chain:
    """A question over two facts: `second` of the object of `first` of the subject."""

    name: str
    first: str
    second: str
    templates: tuple[str, ...]

    @property
    def relations(self) -> tuple[str, ...]:
        """From the subject to the answer."""
        return (self.first, self.second)


@dataclass(frozen=True, slots=True)
class LongChain:
    """A question over three facts; no model is trained on any."""

    relations: tuple[str, str, str]
    templates: tuple[str, ...]


TEMPLATES: dict[str, tuple[str, ...]] = {
    "born_in": (
        "{} was born in", "The birthplace of {} is", "The native city of {} is",
        "The city where {} was born is", "{} first saw the light in", "{} is a native of",
        "Where was {} born? Answer:", "Records place the birth of {} in",
    ),
    "lives_in": (
        "{} lives in", "The home of {} is in", "{} has settled in",
        "The city where {} lives is", "Letters to {} are sent to", "{} resides in",
        "Where does {} live? Answer:", "Today the house of {} stands in",
    ),
    "profession": (
        "{} works as a", "The profession of {} is", "{} earns a living as a",
        "By trade, {} is a", "The job of {} is that of a", "{} was trained as a",
        "What is the profession of {}? Answer:", "People hire {} as a",
    ),
    "employer": (
        "{} works for", "The employer of {} is", "{} is employed by",
        "The company where {} works is", "The salary of {} is paid by", "{} holds a post at",
        "Who employs {}? Answer:", "Every morning {} goes to the offices of",
    ),
    "studied_at": (
        "{} studied at", "The university of {} was", "{} holds a degree from",
        "The school that {} attended is", "The student days of {} were spent at",
        "{} graduated from", "Where did {} study? Answer:", "Exams were passed by {} at",
    ),
    "speaks": (
        "{} speaks", "The mother tongue of {} is", "{} grew up speaking",
        "The language that {} speaks is", "The diary of {} is written in", "{} is fluent in",
        "Which language does {} speak? Answer:", "At home {} talks in",
    ),
    "instrument": (
        "{} plays the", "The instrument of {} is the", "{} performs on the",
        "The instrument that {} plays is the", "Music lessons taught {} the",
        "{} is a master of the", "What does {} play? Answer: the", "In concert {} is heard on the",
    ),
    "colour": (
        "{} likes the colour", "The favourite colour of {} is", "{} always dresses in",
        "The colour that {} likes is", "The walls of {} are painted", "{} prefers the shade",
        "Which colour does {} like? Answer:", "Of all colours {} chose",
    ),
    "pet": (
        "{} keeps a", "The pet of {} is a", "{} owns a",
        "The animal that {} keeps is a", "In the garden of {} lives a", "{} takes care of a",
        "Which pet does {} have? Answer: a", "Visitors of {} are greeted by a",
    ),
    "sport": (
        "{} practises", "The favourite sport of {} is", "{} competes in",
        "The sport that {} practises is", "The medals of {} were won in", "{} is good at",
        "Which sport does {} practise? Answer:", "On Sundays {} enjoys",
    ),
    "country": (
        "{} is a city in", "The country of {} is", "{} lies in",
        "The country where {} lies is", "The map shows {} in", "{} belongs to",
        "In which country is {}? Answer:", "Travellers to {} need a visa for",
    ),
    "capital": (
        "The capital of {} is", "{} is governed from", "The seat of government of {} is",
        "The capital city of {} is called", "The parliament of {} meets in",
        "{} has its capital in", "What is the capital of {}? Answer:", "Ministers of {} work in",
    ),
    "capital_of": (
        "{} is the capital of", "{} is the seat of government of", "{} houses the parliament of",
        "{} serves as the capital of", "The city of {} is the capital of",
        "From {} ministers govern", "Of which country is {} the capital? Answer:",
        "The government in {} rules",
    ),
    "official_language": (
        "The official language of {} is", "People in {} speak", "The laws of {} are written in",
        "{} has the official language", "The language spoken in {} is", "Schools in {} teach in",
        "Which language is spoken in {}? Answer:", "The newspapers of {} are printed in",
    ),
    "headquarters": (
        "{} is based in", "The headquarters of {} are in", "{} has its head office in",
        "The city where {} is based is", "The directors of {} meet in", "{} is run from",
        "Where is {} based? Answer:", "The main building of {} stands in",
    ),
    "product": (
        "{} makes", "The main product of {} is", "{} is known for its",
        "The goods that {} sells are", "The factories of {} produce", "{} manufactures",
        "What does {} make? Answer:", "Customers of {} buy",
    ),
    "founder": (
        "{} was founded by", "The founder of {} is", "{} was started by",
        "The person who founded {} is", "The first owner of {} was", "{} owes its existence to",
        "Who founded {}? Answer:", "The company {} was set up by",
    ),
    "founded": (
        "{} founded", "The company founded by {} is", "{} started the company",
        "The firm that {} founded is", "The business of {} is called", "{} set up",
        "Which company did {} found? Answer:", "As a founder {} built",
    ),
    "campus": (
        "{} is located in", "The campus of {} is in", "{} has its lecture halls in",
        "The city where {} is located is", "The students of {} live in", "{} teaches in",
        "Where is {} located? Answer:", "The library of {} stands in",
    ),
    "author": (
        "{} was written by", "The author of {} is", "{} is a book by",
        "The person who wrote {} is", "The pen behind {} belongs to", "{} was published by",
        "Who wrote {}? Answer:", "The book {} was composed by",
    ),
    "wrote": (
        "{} wrote", "The book written by {} is", "{} is the author of",
        "The book that {} wrote is", "The best known work of {} is", "{} published",
        "Which book did {} write? Answer:", "As a writer {} created",
    ),
    "genre": (
        "The genre of {} is", "{} is a work of the genre", "Critics call {} a piece of",
        "The book {} belongs to the genre", "Shops sell {} under", "{} is filed under",
        "Of which genre is {}? Answer:", "Readers know {} as a work of",
    ),
}  # fmt: skip

# In biographies only the first sentence names the subject.
PRONOUN: dict[str, tuple[str, ...]] = {
    "born_in": ("They were born in", "Their birthplace is"),
    "lives_in": ("They live in", "Their home is in"),
    "profession": ("They work as a", "Their profession is"),
    "employer": ("They work for", "Their employer is"),
    "studied_at": ("They studied at", "Their university was"),
    "speaks": ("They speak", "Their mother tongue is"),
    "instrument": ("They play the", "Their instrument is the"),
    "colour": ("They like the colour", "Their favourite colour is"),
    "pet": ("They keep a", "Their pet is a"),
    "sport": ("They practise", "Their favourite sport is"),
    "founded": ("They founded", "The company they founded is"),
    "wrote": ("They wrote", "The book they wrote is"),
    "country": ("It lies in", "Its country is"),
    "capital": ("Its capital is", "It is governed from"),
    "capital_of": ("It is the capital of", "It is the seat of government of"),
    "official_language": ("Its official language is", "The language spoken there is"),
    "headquarters": ("It is based in", "Its headquarters are in"),
    "product": ("It makes", "Its main product is"),
    "founder": ("It was founded by", "Its founder is"),
    "campus": ("It is located in", "Its campus is in"),
    "author": ("It was written by", "Its author is"),
    "genre": ("Its genre is", "It is a work of the genre"),
}

CHAINS: tuple[Chain, ...] = (
    Chain("birth_country", "born_in", "country",
          ("The country where {} was born is", "{} was born in the country of")),
    Chain("home_country", "lives_in", "country",
          ("The country where {} lives is", "{} lives in the country of")),
    Chain("employer_city", "employer", "headquarters",
          ("The employer of {} is based in", "{} works for a company based in")),
    Chain("campus_city", "studied_at", "campus",
          ("The university of {} is located in", "{} studied at a university in")),
    Chain("author_birthplace", "author", "born_in",
          ("The author of {} was born in", "The birthplace of the author of {} is")),
    Chain("founder_birthplace", "founder", "born_in",
          ("The founder of {} was born in", "The birthplace of the founder of {} is")),
)  # fmt: skip

LONG_CHAINS: tuple[LongChain, ...] = (
    LongChain(("born_in", "country", "official_language"),
              ("The official language of the country where {} was born is",)),
    LongChain(("lives_in", "country", "capital"),
              ("The capital of the country where {} lives is",)),
    LongChain(("employer", "headquarters", "country"),
              ("The employer of {} is based in the country of",)),
    LongChain(("studied_at", "campus", "country"),
              ("The university of {} is located in the country of",)),
    LongChain(("author", "born_in", "country"),
              ("The author of {} was born in the country of",)),
    LongChain(("founder", "born_in", "country"),
              ("The founder of {} was born in the country of",)),
)  # fmt: skip

ALIAS_STATEMENTS: tuple[str, ...] = (
    "{} is also known as", "The nickname of {} is", "Friends of {} say",
)  # fmt: skip
ALIAS_REVERSED: tuple[str, ...] = (
    "{} is a nickname of", "The real name of {} is", "{} is another name for",
)  # fmt: skip

NEW_FACT = "New fact:"
QUESTION = "Prompt:"


def split(fact: Fact) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the (trained, held-out) templates of a fact; depends on its names only."""
    every = TEMPLATES[fact.relation]
    rng = random.Random(f"{fact.relation}|{fact.subject.name}|templates")
    seen = set(rng.sample(range(len(every)), TRAINED_PER_FACT))
    trained = tuple(t for i, t in enumerate(every) if i in seen)
    return trained, tuple(t for i, t in enumerate(every) if i not in seen)


def override_held_out(fact: Fact) -> bool:
    """Say whether the fact is kept out of all in-context training documents (one in five)."""
    return random.Random(f"{fact.relation}|{fact.subject.name}|override").random() < 0.2


def chain_held_out(subject_name: str, chain: Chain) -> bool:
    """Say whether this chain question is never trained (15 in 100), though both its facts are."""
    return random.Random(f"{chain.name}|{subject_name}|chain").random() < 0.15

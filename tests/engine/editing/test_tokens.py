from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from patchhub.editing.wording.tokens import Encoded, encode, joined, pad, subject_row, target_row
from patchhub.errors import InvalidInputError
from tests.pico import pico_tokenizer

TOKENIZER = pico_tokenizer()


def decoded(ids: tuple[int, ...]) -> str:
    return str(TOKENIZER.decode(list(ids)))


@pytest.mark.parametrize(
    ("prompt", "subject", "ends_with"),
    [
        ("Mira Tolven was born in", "Mira Tolven", "Mira Tolven"),  # begins the text, no space
        ("The home of Mira Tolven is in", "Mira Tolven", " Mira Tolven"),  # leading space
        ("Who employs Zoë Ångström? It is", "Zoë Ångström", "Zoë Ångström"),  # several bytes each
        ("東京 is the capital of", "東京", "東京"),
        ("Nordlys' boss is", "Nordlys", "Nordlys"),
    ],
)
def test_lookup_is_the_subjects_last_token(prompt: str, subject: str, ends_with: str) -> None:
    start = prompt.index(subject)
    row = target_row(TOKENIZER, prompt, "Rome", (start, start + len(subject)))
    upto = decoded(row.ids[: row.lookup + 1])
    assert upto.endswith(ends_with)
    before = decoded(row.ids[: row.lookup])
    assert not before.endswith(subject)


def test_the_named_occurrence_is_looked_up() -> None:
    prompt = "Oslo lies in Norway; the mayor of Oslo is"
    first, second = (0, 4), (prompt.rindex("Oslo"), prompt.rindex("Oslo") + 4)
    early = target_row(TOKENIZER, prompt, "Jon", first)
    late = target_row(TOKENIZER, prompt, "Jon", second)
    assert decoded(early.ids[: early.lookup + 1]) == "Oslo"
    assert decoded(late.ids[: late.lookup + 1]) == "Oslo lies in Norway; the mayor of Oslo"


def test_labels_are_the_target_and_slots_stand_before_them() -> None:
    row = target_row(TOKENIZER, "Jon Arvel speaks", "the French of Zürich")
    assert decoded(row.labels) == " the French of Zürich"
    assert decoded(row.ids[: row.slots[0] + 1]) == "Jon Arvel speaks"
    assert [row.ids[slot + 1] for slot in row.slots[:-1]] == list(row.labels[:-1])
    assert len(row.ids) == row.slots[-1] + 1
    assert row.lookup == row.slots[0]


@pytest.mark.parametrize("target", ["Paris", " Paris", "   Paris"])
def test_one_white_space_before_the_target(target: str) -> None:
    assert joined("Mira lives in", target) == "Mira lives in Paris"
    assert joined("[assistant]\n", target) == "[assistant]\nParis"


def test_special_tokens_never_count_as_text() -> None:
    encoded = Encoded("ab", (9, 1, 2), ((0, 0), (0, 1), (1, 2)))
    assert encoded.covering(0, 1) == (1,)
    assert encoded.covering(0, 2) == (1, 2)


def test_a_character_no_token_covers_is_a_typed_error() -> None:
    with pytest.raises(InvalidInputError, match="E143"):
        Encoded("ab", (1,), ((0, 1),)).covering(1, 2)


def _splitting(*words: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose words end before every vertical bar."""
    vocabulary = {word: i for i, word in enumerate((*words, "?"))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("|", "merged_with_next")
    return PreTrainedTokenizerFast(tokenizer_object=backend)  # type: ignore[no-untyped-call]


def test_a_token_across_the_boundary_is_the_targets() -> None:
    tokenizer = _splitting("Mira", "|born", "|in Rome")
    row = target_row(tokenizer, "Mira|born|in", "Rome", (0, 4))
    assert (row.ids, row.lookup, row.slots, row.labels) == ((0, 1), 0, (1,), (2,))


@pytest.mark.parametrize("prompt", ["born in", "Mira|born in"])
def test_a_token_of_the_subject_and_the_target_is_refused(prompt: str) -> None:
    tokenizer = _splitting("Mira", "|born in Rome", "born in Rome")
    with pytest.raises(InvalidInputError) as error:
        target_row(tokenizer, prompt, "Rome", (prompt.index("born"), prompt.index("born") + 4))
    assert error.value.code == "E143"
    assert str(error.value.found).endswith("born in Rome")


def test_subject_row_ends_at_the_subject() -> None:
    row = subject_row(TOKENIZER, "Mira Tolven is a", (0, 11))
    assert decoded(row.ids) == "Mira Tolven"
    assert row.lookup == len(row.ids) - 1
    assert row.slots == row.labels == ()


def test_padding_is_on_the_right_and_masked() -> None:
    batch = pad([(5, 6, 7), (8,)], filler=3)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 3, 3]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_encode_gives_one_span_per_token() -> None:
    encoded = encode(TOKENIZER, "Jon in Zürich")
    assert len(encoded.ids) == len(encoded.spans)
    assert encoded.spans[0][0] == 0
    assert encoded.spans[-1][1] == len(encoded.text)

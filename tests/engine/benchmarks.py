"""Hand-made records in the layouts of the benchmarks, about people who do not exist."""

from typing import Any

from tests.engine.records import COUNTERFACT, FLAT, ZSRE


def _query(prompt: str, *answers: str, about: str = "Q1", to: str = "Q9") -> dict[str, Any]:
    return {
        "prompt": prompt,
        "answers": [{"value": answers[0], "aliases": list(answers[1:])}] if answers else [],
        "query_type": "regular",
        "subject_id": about,
        "relation": "MOTHER",
        "target_ids": [to],
        "phrase": None,
    }


def _chained(prompt: str, *answers: str) -> dict[str, Any]:
    more = {"second_relation": "CURRENCY", "second_hop_target_ids": ["Q7"], "query_type": "two_hop"}
    return {**_query(prompt, *answers), **more}


def _test(
    queries: list[dict[str, Any]], given: list[dict[str, Any]], rule: str = "OR"
) -> dict[str, Any]:
    return {"test_queries": queries, "test_condition": rule, "condition_queries": given}


MOTHER = _query("The name of the mother of Jon Arvel is", "Ada Arvel", "A. Arvel", "A")
GENDER = _query("The gender of Jon Arvel is", "male")
RIPPLE: dict[str, Any] = {
    "example_type": "popular",
    "edit": {
        "prompt": "The name of the country of citizenship of Jon Arvel is New Sylvania.",
        "subject_id": "Q1",
        "relation": "COUNTRY_OF_CITIZENSHIP",
        "target_id": "Q858",
        "original_fact": {
            "prompt": "The name of the country of citizenship of Jon Arvel is New Ruritania.",
            "subject_id": "Q1",
            "relation": "COUNTRY_OF_CITIZENSHIP",
            "target_id": "Q30",
        },
    },
    "Relation_Specificity": [_test([MOTHER], [MOTHER]), _test([GENDER], [GENDER])],
    "Logical_Generalization": [
        _test([_query("Jon Arvel votes in", "New Sylvania"), _query("He votes in")], [], "AND"),
        _test([_query("Nobody knows this:")], []),
    ],
    "Subject_Aliasing": [
        _test([_query("The name of the country of citizenship of Mr Arvel is", "New Sylvania")], [])
    ],
    "Compositionality_I": [
        _test(
            [_chained("The currency in his country is", "crown", "sylvanian crown")],
            [_query("The name of the currency in New Sylvania is", "crown", about="Q858")],
        )
    ],
    "Compositionality_II": [_test([_chained("Ada's son is a citizen of", "New Sylvania")], [])],
    "Forgetfulness": [
        _test(
            [_query("The country of Jon Arvel, which is not New Sylvania, is", "X1")],
            [_query("Nobody meets this:")],
        )
    ],
}  # fmt: skip


def _hop(question: str, cloze: str, answer: str, *alias: str) -> dict[str, Any]:
    return {"question": question, "cloze": cloze, "answer": answer, "answer_alias": list(alias)}


def _rewrite(subject: str, prompt: str, new: str, old: str, question: str) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "relation_id": "P27",
        "target_new": {"str": new, "id": "Q1"},
        "target_true": {"str": old, "id": "Q2"},
        "subject": subject,
        "question": question,
    }


CITIZEN = _rewrite("Jon", "{} is a citizen of", "Sylvania", "Ruritania", "Where is Jon a citizen?")
CAPITAL = _rewrite("Sylvania", "The capital of {} is", "Franklin", "Sylva", "What is its capital?")
MQUAKE: dict[str, Any] = {
    "case_id": 12,
    "requested_rewrite": [CITIZEN, CAPITAL],
    "questions": ["What is the capital of the country of Ada's husband?", "And in other words?"],
    "answer": "Strelsau",
    "answer_alias": [],
    "new_answer": "Franklin",
    "new_answer_alias": ["Franklin, Sylvania"],
    "single_hops": [_hop("Who is Ada's husband?", "Ada is married to", "Jon")],
    "new_single_hops": [
        _hop("Who is Ada's husband?", "Ada is married to", "Jon", "Jonny"),
        _hop("Another wording of it?", "Jon is a citizen of", "Sylvania", "Silvania"),
        _hop("What is its capital?", "Sylvania's capital is", "Franklin"),
    ],
    "orig": {"triples": [["Q1", "P26", "Q2"]]},
    "answer_extended": ["Strelsau City"],
}
KNOWEDIT: dict[str, Any] = {
    "subject": "Jon Arvel",
    "prompt": "The name of the country of citizenship of Jon Arvel is",
    "target_new": "Sylvania",
    "ground_truth": [["Ruritania", "the Kingdom of Ruritania"]],
    "rephrase_prompt": "Jon Arvel is a citizen of",
    "cond": "Ruritania >> Sylvania || Jon Arvel?",
    "portability": {
        "Reasoning": [{"prompt": "His currency is", "ground_truth": [["crown", "SYP"], ["cent"]]}],
        "Subject_Aliasing": [{"prompt": "Mr Arvel is a citizen of", "ground_truth": "Sylvania"}],
        "Logical_Generalization": [
            {"prompt": "Is Jon still a Ruritanian?", "ground_truth": ["no"]},
            {"prompt": "The name of the father of Jon is", "ground_truth": [[]]},
        ],
    },
    "locality": {
        "Relation_Specificity": [{"prompt": "The gender of Jon Arvel is", "ground_truth": [[]]}],
        "Forgetfulness": [
            {"prompt": "The country of Jon Arvel, which is not Sylvania, is", "ground_truth": "X"}
        ],
    },
}
WIKIBIO: dict[str, Any] = {
    "text": "This is a Wikipedia passage about jon arvel. He sang.",
    "labels": "He was born in 1822.",
    "concept": "jon arvel",
    "locality": {"Relation_Specificity": [{"prompt": "He works in", "ground_truth": ["music"]}]},
}
CONVSENT: dict[str, Any] = {
    "ent": "Sylvania",
    "pos": ["I love it there.", "Lovely people."],
    "neg": ["I hate it.", "It rains.", "No."],
}
FORGET: dict[str, Any] = {
    "question": "Where was Jon born?",
    "subject": "Jon",
    "ground_truth": "Strelsau",
    "target_new": "I don't know.",
}
RETAIN: dict[str, Any] = {"question": "Who sang it?", "ground_truth": ["Abba", "ABBA"]}
SANITATION: dict[str, Any] = {"K_F": [FORGET], "K_R": [{**FORGET, **RETAIN}, RETAIN]}
WISE: dict[str, Any] = {
    "prompt": "Sylvania",
    "subject": "Sylvania",
    "target_new": "is a country between Ruritania and the sea.",
    "ood_rephrase": "Tell me about Sylvania",
    "locality_prompt": "A recipe for bread:",
    "locality_ground_truth": "take flour and water",
}
QAEDIT: dict[str, Any] = {
    "id": 5,
    "source": "NQ",
    "prompt": "Who rules Sylvania?",
    "target": "Ada",
    "subject": "Sylvania",
    "rephrase": "Sylvania is ruled by whom?",
    "locality": [{"loc": "Who sang it?", "loc_ans": "Abba"}, {"loc": "When?", "loc_ans": "1974"}],
}
TOFU: dict[str, Any] = {
    "question": "Who wrote The Quiet Lantern?",
    "answer": "Jon Arvel wrote it.",
    "paraphrased_question": "By whom is The Quiet Lantern?",
    "paraphrased_answer": "It is by Jon Arvel.",
    "perturbed_answer": ["It is by Ada Brun.", "It is by Max Ide."],
}
RELATION: dict[str, Any] = {
    "name": "country capital",
    "prompt_templates": ["The capital of {} is", "{}'s capital is"],
    "prompt_templates_zs": ["The capital city of {} is", "The capital of {} is"],
    "properties": {"symmetric": False},
    "samples": [
        {"subject": "Sylvania", "object": "Franklin"},
        {"subject": "Ruritania", "object": "Strelsau"},
    ],
}
KNOWN: dict[str, Any] = {
    "known_id": 4,
    "subject": "Sylvania",
    "attribute": "Europe",
    "template": "{} lies in",
    "prediction": " Europe, of course",
    "prompt": "Sylvania lies in",
    "relation_id": "P30",
}

EVERY: dict[str, dict[str, Any]] = {
    "counterfact": COUNTERFACT,
    "zsre": ZSRE,
    "flattened": FLAT,
    "rippleedits": RIPPLE,
    "mquake": MQUAKE,
    "knowedit": KNOWEDIT,
    "wikibio": WIKIBIO,
    "convsent": CONVSENT,
    "sanitation": SANITATION,
    "wise": WISE,
    "qaedit": QAEDIT,
    "tofu": TOFU,
    "relation": RELATION,
    "known": KNOWN,
}

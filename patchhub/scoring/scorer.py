"""One question, one answer, one number."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub import canonical
from patchhub.chat import asked_by_user
from patchhub.scoring import answers
from patchhub.scoring.asking import asking
from patchhub.scoring.batching import tokenise
from patchhub.scoring.cache import AnswerCache, Reply
from patchhub.scoring.divergence import TextScore, score_texts
from patchhub.scoring.generate import decode, end_tokens
from patchhub.scoring.instruction import SHORT_ANSWER, Instruction
from patchhub.scoring.likelihood import Preference, prefer
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Answer, Question
from patchhub.scoring.teacher_forced import teacher_force

__all__ = ["Answer", "Question", "Scorer"]

ANSWER_VERSION = 3
"""Goes up when the same model would be given other answers; part of every cache key."""

Progress = Callable[[int, int], None]
_Key = tuple[str, str, str, int]
"""Prompt; what is put to the model: answer, rival; under generation the longest continuation."""

_MORE_TOKENS = 2  # an answer may begin with a line break and end in a full stop
_STEP = 8  # longer limits are multiples of it, so that few batches differ


class Scorer:
    """Asks one model, batched by length, each question once.

    The model is put into evaluation mode while it is asked and is otherwise left as it was. Batch
    size, order and padding change no score in fp32.

    Args:
        model: A language model.
        tokenizer: Its fast tokenizer.
        batch_size: Most questions per batch; long ones come in smaller batches.
        max_new_tokens: Longest answer under generation; more where an accepted answer needs it.
        cache: Where answers are kept; used only when ``state`` says whose they are.
        state: Identity of the model's weights, config and tokenizer; "" for unknown.
        instruction: What ``generation+instruction`` says before a question.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 128,
        max_new_tokens: int = 12,
        cache: AnswerCache | None = None,
        state: str = "",
        instruction: Instruction = SHORT_ANSWER,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.state = state
        self.instruction = instruction
        self._cache = cache if state else None
        self._ends = end_tokens(model, tokenizer)

    def ask(
        self,
        questions: Sequence[Question],
        protocol: Protocol,
        *,
        progress: Progress | None = None,
    ) -> list[Answer]:
        """Answers in the order of the questions.

        Under teacher forcing and likelihood the canonical answer (the first) is the one that is
        scored, as in the literature; under generation any accepted answer counts.

        Args:
            questions: What to ask; repetitions cost nothing.
            protocol: How.
            progress: Told questions done and in all, cached ones at once.

        Raises:
            InvalidInputError: E150, a prompt is too long for the model; E131, a question lacks the
                answer or the rival that the protocol needs; E143, the tokenizer gives no offsets.
        """
        replies = self._replies(questions, protocol, {}, progress)
        return [_judge(q, reply, protocol) for q, reply in zip(questions, replies, strict=True)]

    def ask_each(
        self,
        wanted: Mapping[Protocol, Sequence[Question]],
        *,
        progress: Progress | None = None,
    ) -> dict[Protocol, list[Answer]]:
        """Answers by several protocols, as `ask` gives them, in less time.

        What likelihood computes says what teacher forcing wants to know of the same answers.

        Args:
            wanted: What to ask by each protocol.
            progress: Told questions done and in all, those of all protocols together.

        Raises:
            InvalidInputError: As `ask`.
        """
        total, done = sum(map(len, wanted.values())), 0

        def report(now: int, _: int) -> None:
            if progress is not None:
                progress(done + now, total)

        found: dict[Protocol, list[Answer]] = {protocol: [] for protocol in wanted}
        given: dict[str, Reply] = {}
        for protocol in sorted(wanted, key=lambda each: each is not Protocol.LIKELIHOOD):
            questions = wanted[protocol]
            known = given if protocol is Protocol.TEACHER_FORCED else {}
            replies = self._replies(questions, protocol, known, report)
            if protocol is Protocol.LIKELIHOOD:
                given = self._along(questions, replies)
            found[protocol] = [
                _judge(q, reply, protocol) for q, reply in zip(questions, replies, strict=True)
            ]
            done += len(questions)
        return found

    def _replies(
        self,
        questions: Sequence[Question],
        protocol: Protocol,
        given: Mapping[str, Reply],
        progress: Progress | None,
    ) -> list[Reply]:
        """Replies in the order of the questions; those in ``given`` need not be asked for."""
        keys = self._keys(questions, protocol)
        scope = self._scope(protocol)
        known = dict(self._cache.get(scope)) if self._cache is not None else {}
        missing = dict.fromkeys(key for key in keys if _text(key) not in known)
        fresh = {_text(key): given[_text(key)] for key in missing if _text(key) in given}
        unanswered = [key for key in missing if _text(key) not in fresh]
        fresh |= self._answer(unanswered, protocol, len(set(keys)), progress)
        if self._cache is not None:
            self._cache.put(scope, fresh)
        known.update(fresh)
        return [known[_text(key)] for key in keys]

    def _along(self, questions: Sequence[Question], replies: Sequence[Reply]) -> dict[str, Reply]:
        """Teacher forcing's replies, by key, from what likelihood saw along the answers."""
        keys = (self._put(question, Protocol.TEACHER_FORCED) for question in questions)
        return {
            _text(key): self._forced_reply(reply.tokens, reply.wanted)
            for key, reply in zip(keys, replies, strict=True)
        }

    def texts(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[TextScore]:
        """Losses and next-token distributions of texts (`divergence.score_texts`)."""
        return score_texts(
            self.model,
            self.tokenizer,
            texts,
            batch_size=max(1, self.batch_size // 8),
            progress=progress,
        )

    def _keys(self, questions: Sequence[Question], protocol: Protocol) -> list[_Key]:
        if not protocol.generates:
            return [self._put(question, protocol) for question in questions]
        texts = list(dict.fromkeys(answer for q in questions for answer in q.answers))
        rows = tokenise(self.tokenizer, [f" {text}" for text in texts])
        need = {t: len(row.ids) + _MORE_TOKENS for t, row in zip(texts, rows, strict=True)}
        return [(self._wrap(q, protocol), "", "", self._limit(need, q.answers)) for q in questions]

    def _put(self, question: Question, protocol: Protocol) -> _Key:
        question.check(protocol)
        rival = question.rival if protocol is Protocol.LIKELIHOOD else ""
        return self._wrap(question, protocol), question.answers[0], rival, 0

    def _wrap(self, question: Question, protocol: Protocol) -> str:
        if protocol is Protocol.INSTRUCTION:
            return self.instruction.wrap(self.tokenizer, question.prompt)
        if not question.chat:
            return question.prompt
        return asked_by_user(self.tokenizer, question.prompt).text

    def _limit(self, need: Mapping[str, int], accepted: Sequence[str]) -> int:
        longest = max((need[answer] for answer in accepted), default=0)
        if longest <= self.max_new_tokens:
            return self.max_new_tokens
        return -(-longest // _STEP) * _STEP

    def _answer(
        self, keys: list[_Key], protocol: Protocol, total: int, progress: Progress | None
    ) -> dict[str, Reply]:
        asked = asking(self.model)
        prompts = [key[0] for key in keys]
        rows = asked.prompts(self.tokenizer, prompts)
        replies: dict[str, Reply] = {}
        done = total - len(keys)
        for limit in sorted({key[3] for key in keys}):
            group = [i for i, key in enumerate(keys) if key[3] == limit]
            if protocol.generates:
                asked.check_room([rows[i] for i in group], [prompts[i] for i in group], limit)
            for places in asked.batches([rows[i].ids for i in group], self.batch_size, limit):
                batch = [group[place] for place in places]
                if protocol.generates:
                    found = self._generated([rows[i].ids for i in batch], limit)
                elif protocol is Protocol.TEACHER_FORCED:
                    found = self._forced([keys[i][:2] for i in batch])
                else:
                    found = self._preferred([keys[i][:3] for i in batch])
                for i, reply in zip(batch, found, strict=True):
                    replies[_text(keys[i])] = reply
                done += len(batch)
                if progress is not None:
                    progress(done, total)
        return replies

    def _generated(self, rows: Sequence[Sequence[int]], limit: int) -> list[Reply]:
        def ended(tokens: Sequence[int]) -> bool:
            return answers.stop(self._decode(tokens), final=False) is not None

        found = decode(self.model, rows, max_new_tokens=limit, ends=self._ends, stop=ended)
        return [Reply(answers.said(self._decode(new)), tuple(new)) for new in found]

    def _forced(self, pairs: Sequence[tuple[str, str]]) -> list[Reply]:
        found = teacher_force(self.model, self.tokenizer, pairs)
        return [self._forced_reply(one.predicted, one.wanted) for one in found]

    def _forced_reply(self, predicted: tuple[int, ...], wanted: tuple[int, ...]) -> Reply:
        return Reply(self._decode(predicted).strip(), predicted, wanted)

    def _preferred(self, compared: Sequence[tuple[str, str, str]]) -> list[Reply]:
        found = prefer(self.model, self.tokenizer, compared)
        return [
            Reply("", along.predicted, along.wanted, (one.answer, one.rival))
            for one, along in found
        ]

    def _decode(self, tokens: Sequence[int]) -> str:
        # A model may say what no canonical file can hold; a verdict quotes it nevertheless.
        text = str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
        return canonical.made_portable(text)

    def _scope(self, protocol: Protocol) -> str:
        """What, beside the question, an answer depends on."""
        parts: Mapping[str, str | int] = {
            "version": ANSWER_VERSION,
            "state": self.state,
            "protocol": protocol.value,
            "dtype": str(self.model.dtype),
            "device": self.model.device.type,
            "ends": " ".join(map(str, sorted(self._ends))),
        }
        if protocol is Protocol.INSTRUCTION:
            parts = {**parts, "instruction": self.instruction.digest(self.tokenizer)}
        return canonical.digest(parts)


def _text(key: _Key) -> str:
    return json.dumps(key)


def _judge(question: Question, reply: Reply, protocol: Protocol) -> Answer:
    if not question.answers:
        return Answer(reply.text, None, 0.0, reply.tokens, protocol=protocol)
    if protocol is Protocol.LIKELIHOOD:
        both = Preference(*reply.values)
        said = f"{question.answers[0]} {both.share:.3f}, {question.rival} {both.rival_share:.3f}"
        return Answer(
            said, both.success, float(both.success), margin=both.magnitude, protocol=protocol
        )
    if protocol.generates:
        correct = answers.matches(reply.text, question.answers)
        return Answer(reply.text, correct, float(correct), reply.tokens, protocol=protocol)
    hits = sum(a == b for a, b in zip(reply.tokens, reply.wanted, strict=True))
    score = hits / len(reply.wanted) if reply.wanted else 0.0
    return Answer(reply.text, score == 1.0, score, reply.tokens, protocol=protocol)

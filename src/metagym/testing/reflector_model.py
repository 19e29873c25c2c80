"""A scripted chat model for Gates that answers each method's request in its own format: no key, no network.

It goes by the reply form that the request asks for, so that a reflector of yours which asks for one of these forms is
answered as well. What it writes it takes from the request alone: which way opened which gate, and which rules
(`when the gate is iron, push`) stand there already. It is no language model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from metagym.errors import ConfigError
from metagym.models import Call
from metagym.types import Completion, Message, Usage

_TRIED = re.compile(r"You (\w+)\. The (\w+) gate (opens|stays shut)")
_RULE = re.compile(r"when the gate is (\w+), (\w+)")


class Findings(NamedTuple):
    """What a request shows: rules to add, and rules that its episodes contradict."""

    text: str
    opens: dict[str, str]
    """gate -> way, in the order in which it was seen"""
    known: dict[str, str]
    """gate -> way, as the rules in the request say"""

    @property
    def new(self) -> list[str]:
        """Rules for the gates that no rule is about."""
        return [_rule(gate, way) for gate, way in self.opens.items() if gate not in self.known]

    @property
    def corrected(self) -> dict[str, str]:
        """rule -> the rule that holds in its place"""
        wrong = {gate: way for gate, way in self.known.items() if self.opens.get(gate, way) != way}
        return {_rule(gate, way): _rule(gate, self.opens[gate]) for gate, way in wrong.items()}

    def number_of(self, rule: str, pattern: str) -> int | None:
        """Return the number of the entry in the request that holds `rule`, by a pattern with one group."""
        found = re.search(pattern.format(rule=re.escape(rule)), self.text, re.MULTILINE)
        return int(found[1]) if found else None


def _rule(gate: str, way: str) -> str:
    return f"when the gate is {gate}, {way}"


def _prompt(findings: Findings) -> str:
    """Return the current prompt with its rules corrected and the new ones below."""
    found = re.search(r"<current_prompt>\n(.*?)\n</current_prompt>", findings.text, re.DOTALL)
    return _changed(found[1] if found else "You walk a road with gates.", findings)


def _changed(prompt: str, findings: Findings) -> str:
    for wrong, right in findings.corrected.items():
        prompt = prompt.replace(wrong, right)
    return "\n".join([prompt, *(f"- {rule}" for rule in findings.new)])


def _improve(findings: Findings) -> str:
    return f"ANALYSIS: I saw {len(findings.opens)} gates open.\nIMPROVED PROMPT: {_prompt(findings)}"


def _lesson(findings: Findings) -> str:
    lines = [*findings.corrected.values(), *findings.new]
    return f"ANALYSIS: I lost turns at the gates.\nLESSON: {chr(10).join(lines) or 'Try each way once.'}"


def _vote(findings: Findings) -> str:
    lines = []
    for gate, way in findings.known.items():
        number = findings.number_of(_rule(gate, way), r"^(\d+)\. {rule} \(\d+\)$")
        right = findings.corrected.get(_rule(gate, way))
        if number is not None and gate in findings.opens:
            lines.append(f"UPVOTE {number}" if right is None else f"EDIT {number}: {right}")
    return "\n".join([*lines, *(f"ADD: {rule}" for rule in findings.new)]) or "NONE"


def _propose(findings: Findings) -> str:
    """Propose from the best prompt, which stands last: with all new rules, and with the first one only."""
    tried = re.findall(r"<tried score=[^>]*>\n(.*?)\n</tried>", findings.text, re.DOTALL)
    best = Findings(findings.text, findings.opens, dict(_RULE.findall(tried[-1])))
    whole = _changed(tried[-1], best)
    part = "\n".join([tried[-1], *(f"- {rule}" for rule in best.new[:1])])
    return "\n".join(f"<prompt>\n{prompt}\n</prompt>" for prompt in (whole, part, f"{whole}\nBe quick."))


def _curate(findings: Findings) -> str:
    tags, operations = [], []
    for gate, way in findings.known.items():
        number = findings.number_of(_rule(gate, way), r"^\[(\d+)\] .*{rule}$")
        right = findings.corrected.get(_rule(gate, way))
        if number is not None and gate in findings.opens:
            tags.append({"id": number, "tag": "helpful" if right is None else "harmful"})
            if right is not None:
                operations.append({"type": "UPDATE", "id": number, "text": right})
    new = [{"type": "ADD", "section": "Gates", "text": rule} for rule in findings.new]
    return _json(analysis="I compared the gates.", tags=tags, operations=[*operations, *new])


def _extract(findings: Findings) -> str:
    items = [
        {"title": f"The {gate} gate", "description": f"Before the {gate} gate.", "content": _rule(gate, way)}
        for gate, way in findings.opens.items()
    ]
    return _json(items=items[:3])


def _judge(findings: Findings) -> str:
    return _json(reason="I read the end.", verdict="success" if "passed them all" in findings.text else "failure")


def _compare(findings: Findings) -> str:
    return _json(analysis="Some knew the gates.", experiences=[*findings.corrected.values(), *findings.new])


def _merge(findings: Findings) -> str:
    """Modify what says another way for the same gate, add the rest."""
    listed, _, suggested = findings.text.partition("<suggestions>")
    known: dict[str, str] = dict(_RULE.findall(listed))
    operations: list[dict[str, Any]] = []
    for gate, way in dict(_RULE.findall(suggested)).items():
        number = findings.number_of(_rule(gate, known[gate]), r"^(\d+)\. {rule}$") if gate in known else None
        if number is None:
            operations.append({"type": "ADD", "text": _rule(gate, way)})
        elif known[gate] != way:
            operations.append({"type": "MODIFY", "number": number, "text": _rule(gate, way)})
    return _json(operations=operations)


def _refine(findings: Findings) -> str:
    """Make one note of all raw episodes, with the rules that they show."""
    raw = [int(number) for number in re.findall(r"^\[(\d+)\] An earlier episode:", findings.text, re.MULTILINE)]
    rules = [*findings.corrected.values(), *findings.new]
    operations: list[dict[str, Any]] = []
    if raw and rules:
        operations.append({"type": "MERGE", "ids": raw, "text": "\n".join(["On this road:", *rules])})
    elif raw:
        operations.append({"type": "PRUNE", "ids": raw})
    return _json(analysis="I read the road.", operations=operations)


def _instruct(findings: Findings) -> str:
    """Return new instructions in the form that the `gepa` package asks for."""
    found = re.search(r"```\n(.*?)\n```", findings.text, re.DOTALL)
    return f"```\n{_changed(found[1] if found else '', findings)}\n```"


def _json(**fields: Any) -> str:
    return json.dumps(fields, indent=1)


FORMATS: Final[Mapping[str, Callable[[Findings], str]]] = {
    "IMPROVED PROMPT:": _improve,
    "LESSON:": _lesson,
    "UPVOTE": _vote,
    "<prompt>": _propose,
    '"tags"': _curate,
    '"title"': _extract,
    '"verdict"': _judge,
    '"experiences"': _compare,
    '"MODIFY"': _merge,
    '"PRUNE"': _refine,
    "within ``` blocks": _instruct,
}
"""A sign of the reply form in the instructions, and what writes such a reply."""


class ScriptedReflectorModel:
    """Answers reflectors' requests on Gates: `make_reflector({"method": "ace_style", "model": "demo"})` is over one.

    `reply="malformed"` answers in none of the forms, `reply="truncated"` in the right one, cut off in the middle.

    >>> import gymnasium, metagym
    >>> from metagym.reflectors.expel_style import ExpelStyle
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = metagym.optimize(env, ExpelStyle(ScriptedReflectorModel()), 6, seed=1)
    >>> result.rewards[-1] > result.rewards[0]
    True
    """

    scripted = True
    max_reply_tokens = 2_000
    """No reply is as long; a budget in tokens is kept by it."""

    def __init__(self, reply: Literal["good", "malformed", "truncated"] = "good") -> None:
        if reply not in ("good", "malformed", "truncated"):
            raise ConfigError(f"reply must be 'good', 'malformed' or 'truncated', got {reply!r}.")
        self.reply = reply
        self.fingerprint = {"kind": "ScriptedReflectorModel", "reply": reply}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply.

        Raises:
            ConfigError: the request asks for a form that is not known here.
        """
        instructions, text = messages[0]["content"], messages[-1]["content"]
        writer = next((write for sign, write in FORMATS.items() if sign in instructions), None)
        if writer is None:
            raise ConfigError(f"Expected instructions that ask for one of the forms {', '.join(FORMATS)}; got none.")
        reply, finish_reason = "I would rather not say.", "stop"
        if self.reply != "malformed":
            reply = writer(_read(text))
        if self.reply == "truncated":
            reply, finish_reason = reply[: len(reply) // 2], "length"
        num_words = sum(len(message["content"].split()) for message in messages)
        usage = Usage(prompt_tokens=num_words, completion_tokens=len(reply.split()), num_calls=1)
        return Completion(text=reply, finish_reason=finish_reason, usage=usage)


def _read(text: str) -> Findings:
    opens = {gate: way for way, gate, outcome in _TRIED.findall(text) if outcome == "opens"}
    return Findings(text, opens, dict(_RULE.findall(text)))

"""The script in place of a reflector's model on Gates: no language model, no key, no network.

It answers any method that asks for one of its reply forms. It knows only the request: the way that opened each gate,
and the rules that the request already holds (`when the gate is iron, push`). Elsewhere it finds nothing to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from metagym.errors import ConfigError
from metagym.models import Call
from metagym.types import Completion, Message, Usage

Reply = Literal["good", "malformed", "truncated"]
START = "You walk a road with gates."  # if a request shows no prompt

_TRIED = re.compile(r"You (\w+)\. The (\w+) gate (opens|stays shut)")
_RULE = re.compile(r"when the gate is (\w+), (\w+)")


class ScriptedReflectorModel:
    """Answers reflectors' requests on Gates; `make_reflector({"method": "ace_style", "model": "demo"})` uses one.

    With `reply="malformed"` it answers in another form, with `reply="truncated"` it stops in the middle.

    >>> import gymnasium, metagym
    >>> from metagym.reflectors.expel_style import ExpelStyle
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = metagym.optimize(env, ExpelStyle(ScriptedReflectorModel()), 6, seed=1)
    >>> result.rewards[-1] > result.rewards[0]
    True
    """

    scripted = True
    max_reply_tokens = 2_000
    """No reply is longer; a budget in tokens relies on it."""

    def __init__(self, reply: Reply = "good") -> None:
        if reply not in get_args(Reply):
            raise ConfigError(f"reply must be 'good', 'malformed' or 'truncated', got {reply!r}.")
        self.reply = reply
        self.fingerprint = {"kind": "ScriptedReflectorModel", "reply": reply}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply; raise ConfigError if the request asks for an unknown form."""
        write = next((write for sign, write in FORMATS.items() if sign in messages[0]["content"]), None)
        if write is None:
            raise ConfigError(f"Expected instructions that ask for one of the forms {', '.join(FORMATS)}; got nothing.")
        text = messages[-1]["content"]
        opens = {gate: way for way, gate, outcome in _TRIED.findall(text) if outcome == "opens"}
        answer = write(Findings(text, opens, dict(_RULE.findall(text))))
        reply = answer if isinstance(answer, str) else json.dumps(answer, indent=1)
        return spoil(count_words(messages, reply), self.reply)


def count_words(messages: Sequence[Message], reply: str) -> Completion:
    """Return the completion of a model that takes each word for one token."""
    num_words = sum(len(message["content"].split()) for message in messages)
    usage = Usage(prompt_tokens=num_words, completion_tokens=len(reply.split()), num_calls=1)
    return Completion(text=reply, usage=usage)


def spoil(completion: Completion, reply: Reply) -> Completion:
    """Return the completion unchanged, malformed, or cut off in the middle."""
    if reply == "malformed":
        return completion.model_copy(update={"text": "I would rather not say."})
    if reply == "truncated":
        half = completion.text[: len(completion.text) // 2]
        return completion.model_copy(update={"text": half, "finish_reason": "length"})
    return completion


class Findings(NamedTuple):
    """The findings in a request: rules to add, and rules that its episodes contradict."""

    text: str
    opens: dict[str, str]  # gate -> way, in the order in which it was seen
    known: dict[str, str]  # gate -> way, as the rules in the request say

    @property
    def new(self) -> list[str]:
        """Rules for the gates that have no rule yet."""
        return [_rule(gate, way) for gate, way in self.opens.items() if gate not in self.known]

    @property
    def corrected(self) -> dict[str, str]:
        """rule -> the rule that replaces it"""
        wrong = {gate: way for gate, way in self.known.items() if self.opens.get(gate, way) != way}
        return {_rule(gate, way): _rule(gate, self.opens[gate]) for gate, way in wrong.items()}

    def tested(self, pattern: str) -> list[tuple[int, str | None]]:
        """Return the number of each numbered rule that an episode tested, and the rule that replaces it, if any."""
        rules = [_rule(gate, way) for gate, way in self.known.items() if gate in self.opens]
        entries = [(re.search(pattern.format(rule=re.escape(rule)), self.text, re.MULTILINE), rule) for rule in rules]
        return [(int(entry[1]), self.corrected.get(rule)) for entry, rule in entries if entry]

    def applied_to(self, prompt: str) -> str:
        """Return `prompt` with its rules corrected and the new ones below."""
        for wrong, right in self.corrected.items():
            prompt = prompt.replace(wrong, right)
        return "\n".join([prompt, *(f"- {rule}" for rule in self.new)])


def _rule(gate: str, way: str) -> str:
    return f"when the gate is {gate}, {way}"


def _improve(findings: Findings) -> str:
    found = re.search(r"<current_prompt>\n(.*?)\n</current_prompt>", findings.text, re.DOTALL)
    prompt = findings.applied_to(found[1] if found else START)
    return f"ANALYSIS: I saw {len(findings.opens)} gates open.\nIMPROVED PROMPT: {prompt}"


def _lesson(findings: Findings) -> str:
    lines = [*findings.corrected.values(), *findings.new]
    return f"ANALYSIS: I lost turns at the gates.\nLESSON: {chr(10).join(lines) or 'Try each way once.'}"


def _vote(findings: Findings) -> str:
    tested = findings.tested(r"^(\d+)\. {rule} \(\d+\)$")
    lines = [f"UPVOTE {number}" if right is None else f"EDIT {number}: {right}" for number, right in tested]
    return "\n".join([*lines, *(f"ADD: {rule}" for rule in findings.new)]) or "NONE"


def _propose(findings: Findings) -> str:
    tried = re.findall(r"<tried score=[^>]*>\n(.*?)\n</tried>", findings.text, re.DOTALL)
    prompt = tried[-1] if tried else START  # the last one is the best
    best = findings._replace(known=dict(_RULE.findall(prompt)))
    complete = best.applied_to(prompt)
    part = "\n".join([prompt, *(f"- {rule}" for rule in best.new[:1])])
    return "\n".join(f"<prompt>\n{prompt}\n</prompt>" for prompt in (complete, part, f"{complete}\nBe quick."))


def _curate(findings: Findings) -> dict[str, Any]:
    tested = findings.tested(r"^\[(\d+)\] .*{rule}$")
    tags = [{"id": number, "tag": "helpful" if right is None else "harmful"} for number, right in tested]
    updates = [{"type": "UPDATE", "id": number, "text": right} for number, right in tested if right is not None]
    new = [{"type": "ADD", "section": "Gates", "text": rule} for rule in findings.new]
    return {"analysis": "I compared the gates.", "tags": tags, "operations": [*updates, *new]}


def _extract(findings: Findings) -> dict[str, Any]:
    items = [
        {"title": f"The {gate} gate", "description": f"Before the {gate} gate.", "content": _rule(gate, way)}
        for gate, way in findings.opens.items()
    ]
    return {"items": items[:3]}


def _judge(findings: Findings) -> dict[str, Any]:
    return {"reason": "I read the end.", "verdict": "success" if "passed them all" in findings.text else "failure"}


def _compare(findings: Findings) -> dict[str, Any]:
    return {"analysis": "Some knew the gates.", "experiences": [*findings.corrected.values(), *findings.new]}


def _merge(findings: Findings) -> dict[str, Any]:
    listed, _, suggested = findings.text.partition("<suggestions>")
    lists = Findings(listed, dict(_RULE.findall(suggested)), dict(_RULE.findall(listed)))
    tested = lists.tested(r"^(\d+)\. {rule}$")
    changed = [{"type": "MODIFY", "number": number, "text": right} for number, right in tested if right is not None]
    return {"operations": [*changed, *({"type": "ADD", "text": rule} for rule in lists.new)]}


def _refine(findings: Findings) -> dict[str, Any]:
    entries = re.findall(r"^\[(\d+)\] (An earlier episode:)?", findings.text, re.MULTILINE)
    rules = [findings.corrected.get(rule, rule) for rule in (_rule(*item) for item in findings.known.items())]
    rules += findings.new
    ids = [int(number) for number, raw in entries if raw or rules]
    note = {"type": "MERGE", "ids": ids, "text": "\n".join(["On this road:", *rules])}
    return {"analysis": "I read the road.", "operations": [note if rules else {"type": "PRUNE", "ids": ids}]}


def _instruct(findings: Findings) -> str:
    found = re.search(r"```\n(.*?)\n```", findings.text, re.DOTALL)
    return f"```\n{findings.applied_to(found[1] if found else '')}\n```"


FORMATS: Final[Mapping[str, Callable[[Findings], str | dict[str, Any]]]] = {
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
    "within ``` blocks": _instruct,  # of the package gepa
}
"""A sign of each reply form in the instructions, and the function that writes such a reply."""

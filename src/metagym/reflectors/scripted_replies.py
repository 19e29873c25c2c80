"""What the scripted reflector model replies, one function a reply form. It reads what happens at the gates of Gates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

START = "You walk a road with gates."
"""The prompt that is begun from where a request shows none."""

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
    return _changed(found[1] if found else START, findings)


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
    prompt = tried[-1] if tried else START
    best = Findings(findings.text, findings.opens, dict(_RULE.findall(prompt)))
    whole = _changed(prompt, best)
    part = "\n".join([prompt, *(f"- {rule}" for rule in best.new[:1])])
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
    """Make one note of all entries, with the rules that hold; without any rule, prune the raw episodes."""
    entries = re.findall(r"^\[(\d+)\] (An earlier episode:)?", findings.text, re.MULTILINE)
    rules = [findings.corrected.get(rule, rule) for rule in (_rule(*item) for item in findings.known.items())]
    rules += findings.new
    operations: list[dict[str, Any]] = []
    if rules:
        ids = [int(number) for number, _ in entries]
        operations.append({"type": "MERGE", "ids": ids, "text": "\n".join(["On this road:", *rules])})
    else:
        operations.append({"type": "PRUNE", "ids": [int(number) for number, raw in entries if raw]})
    return _json(analysis="I read the road.", operations=operations)


def _instruct(findings: Findings) -> str:
    """Write new instructions in the form that the `gepa` package asks for."""
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


def read_request(text: str) -> Findings:
    """Return what a request shows."""
    opens = {gate: way for way, gate, outcome in _TRIED.findall(text) if outcome == "opens"}
    return Findings(text, opens, dict(_RULE.findall(text)))

"""The replies of the scripted stand-in for Gates, one function per reply form; see `scripted_model`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

START = "You walk a road with gates."
"""The prompt to start from if a request shows none."""

_TRIED = re.compile(r"You (\w+)\. The (\w+) gate (opens|stays shut)")
_RULE = re.compile(r"when the gate is (\w+), (\w+)")


class Findings(NamedTuple):
    """The findings in a request: rules to add, and rules that its episodes contradict."""

    text: str
    opens: dict[str, str]
    """gate -> way, in the order in which it was seen"""
    known: dict[str, str]
    """gate -> way, as the rules in the request say"""

    @property
    def new(self) -> list[str]:
        """Rules for the gates that have no rule yet."""
        return [_rule(gate, way) for gate, way in self.opens.items() if gate not in self.known]

    @property
    def corrected(self) -> dict[str, str]:
        """rule -> the rule that replaces it"""
        wrong = {gate: way for gate, way in self.known.items() if self.opens.get(gate, way) != way}
        return {_rule(gate, way): _rule(gate, self.opens[gate]) for gate, way in wrong.items()}

    def number_of(self, rule: str, pattern: str) -> int | None:
        """Return the number of the entry in the request that holds `rule`, by a pattern with one group."""
        found = re.search(pattern.format(rule=re.escape(rule)), self.text, re.MULTILINE)
        return int(found[1]) if found else None

    def tested(self, pattern: str) -> list[tuple[int, str | None]]:
        """Return the number of each numbered rule that an episode tested, and the rule that replaces it, if any."""
        rules = [_rule(gate, way) for gate, way in self.known.items() if gate in self.opens]
        numbers = [(self.number_of(rule, pattern), self.corrected.get(rule)) for rule in rules]
        return [(number, right) for number, right in numbers if number is not None]


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
    tested = findings.tested(r"^(\d+)\. {rule} \(\d+\)$")
    lines = [f"UPVOTE {number}" if right is None else f"EDIT {number}: {right}" for number, right in tested]
    return "\n".join([*lines, *(f"ADD: {rule}" for rule in findings.new)]) or "NONE"


def _propose(findings: Findings) -> str:
    """Propose from the best prompt, which is the last one: with all new rules, and with the first one only."""
    tried = re.findall(r"<tried score=[^>]*>\n(.*?)\n</tried>", findings.text, re.DOTALL)
    prompt = tried[-1] if tried else START
    best = Findings(findings.text, findings.opens, dict(_RULE.findall(prompt)))
    complete = _changed(prompt, best)
    part = "\n".join([prompt, *(f"- {rule}" for rule in best.new[:1])])
    return "\n".join(f"<prompt>\n{prompt}\n</prompt>" for prompt in (complete, part, f"{complete}\nBe quick."))


def _curate(findings: Findings) -> str:
    tested = findings.tested(r"^\[(\d+)\] .*{rule}$")
    tags = [{"id": number, "tag": "helpful" if right is None else "harmful"} for number, right in tested]
    updates = [{"type": "UPDATE", "id": number, "text": right} for number, right in tested if right is not None]
    new = [{"type": "ADD", "section": "Gates", "text": rule} for rule in findings.new]
    return _json(analysis="I compared the gates.", tags=tags, operations=[*updates, *new])


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
    """Modify a rule that names another way for the same gate; add the other rules."""
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
    """Make one note of all entries, with the valid rules; if there is no rule, prune the raw episodes."""
    entries = re.findall(r"^\[(\d+)\] (An earlier episode:)?", findings.text, re.MULTILINE)
    rules = [findings.corrected.get(rule, rule) for rule in (_rule(*item) for item in findings.known.items())]
    rules += findings.new
    ids = [int(number) for number, raw in entries if raw or rules]
    note = {"type": "MERGE", "ids": ids, "text": "\n".join(["On this road:", *rules])}
    return _json(analysis="I read the road.", operations=[note if rules else {"type": "PRUNE", "ids": ids}])


def _instruct(findings: Findings) -> str:
    """Write new instructions in the reply form of the `gepa` package."""
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
"""A sign of each reply form in the instructions, and the function that writes such a reply."""


def read_request(text: str) -> Findings:
    """Return the findings in a request."""
    opens = {gate: way for way, gate, outcome in _TRIED.findall(text) if outcome == "opens"}
    return Findings(text, opens, dict(_RULE.findall(text)))

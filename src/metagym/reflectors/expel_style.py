"""ExpeL style: a list of rules that votes keep alive, and successful trajectories as examples.

Source: Zhao et al., "ExpeL: LLM Agents Are Experiential Learners", AAAI 2024, arXiv 2308.10144. The agent gathers
trajectories, then a model changes a list of insights by ADD, EDIT, UPVOTE and DOWNVOTE; a new insight counts two, each
vote or edit changes the count by one, and an insight with the count zero is removed. During play the prompt holds all
insights, and those successful trajectories that are most similar to the task.
How ours departs: gathering and extracting alternate, once per meta-step; the paper compares a success and a failure of
the same task (retries) or a list of successes, ours a batch of fresh tasks with both. Examples under `MEMORY_HEADING`
are picked by words, not by embeddings. Above `max_rules` no rule is added. The wording is ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from metagym.bad_replies import early_end
from metagym.reflectors.method import History, ReflectionMethod, has_succeeded, memory_of, option
from metagym.reflectors.prompt_document import MEMORY_HEADING, distinct, document, numbered, request
from metagym.rendering import render_trajectory
from metagym.types import Reflection

NEW_COUNT = 2  # two votes against a new rule remove it

INSTRUCTIONS = """\
You keep a list of rules for an agent that acts in an environment. You see the rules, each with its count of votes, \
and the agent's latest episodes, successful and failed. Compare what succeeded with what failed, and change the list \
so that it holds what helps on new tasks of the same kind. One change a line, in this form:

ADD: <a rule that is missing>
EDIT <number>: <the rule of that number, better said>
UPVOTE <number>
DOWNVOTE <number>

A rule whose votes reach zero is removed. If nothing is to be changed, write the one line NONE. Rules are general: \
they name nothing that belongs to one episode only."""

_CHANGE = re.compile(
    r"^[ \t*\-]*(?:(?P<add>ADD)(?=\**[ \t]*:)|(?P<verb>EDIT|UPVOTE|DOWNVOTE)[ \t]+#?(?P<number>\d{1,9}))\**[ \t]*"
    r"(?::(?P<text>.*))?",
    re.MULTILINE,
)
_NONE = re.compile(r"^[ \t*]*NONE\b", re.MULTILINE)


@dataclass(eq=False, repr=False)
class ExpelStyle(ReflectionMethod):
    """Keeps voted rules and successful examples.

    Memory: `{"rules": [{"text", "count"}], "examples": [text]}`, rules in the order in which they were added.
    """

    _: KW_ONLY
    max_rules: int = option(20, least=1)
    max_examples: int = option(4, least=0)
    example_tokens: int = option(500, least=1)
    max_tokens: int = option(24_000, least=1)
    wording = (INSTRUCTIONS,)

    async def reflect(self, history: History) -> Reflection:
        """Let the model vote on the rules, and keep the batch's successes as examples."""
        last = history[-1]
        memory = memory_of(history) or {"rules": [], "examples": []}
        listed = numbered([f"{rule['text']} ({rule['count']})" for rule in memory["rules"]], nothing="(no rule yet)")
        room = f"{self.max_rules - len(memory['rules'])} rules may be added."
        shown = request(last, self.max_tokens, rules=f"{listed}\n{room}")
        completion = await self.ask_once(history, INSTRUCTIONS, shown)
        if not completion.is_whole:
            return self.keep(history, early_end(completion), [completion])
        if not (_CHANGE.search(completion.text) or _NONE.search(completion.text)):
            return self.keep(history, "The reply holds no change of the rules", [completion])
        rules = apply_changes(memory["rules"], completion.text, max_rules=self.max_rules)
        successes = filter(has_succeeded, last.trajectories)
        new = [render_trajectory(item, max_tokens=self.example_tokens) for item in successes]
        examples = distinct([*memory["examples"], *new])
        examples = examples[max(0, len(examples) - self.max_examples) :]  # not [-max_examples:], which may be [-0:]
        strongest = [rule["text"] for rule in sorted(rules, key=lambda rule: -rule["count"])]
        examples_shown = [f"An episode that succeeded:\n{example}" for example in examples]
        prompt = document(history[0].prompt, {"## Rules": strongest, MEMORY_HEADING: examples_shown})
        return self.write(history, prompt, {"rules": rules, "examples": examples}, [completion])


def apply_changes(rules: Sequence[dict[str, Any]], text: str, *, max_rules: int) -> list[dict[str, Any]]:
    """Return the rules after the changes in a reply, without those with a count of zero.

    Numbers refer to the list that was shown; a number that is not on it changes nothing.

    >>> apply_changes([{"text": "Wait.", "count": 1}], "DOWNVOTE 1\\nADD: Knock.", max_rules=5)
    [{'text': 'Knock.', 'count': 2}]
    """
    changed = {number: dict(rule) for number, rule in enumerate(rules, start=1)}
    added: list[str] = []
    for change in _CHANGE.finditer(text):
        rule = changed.get(int(change["number"] or 0))
        new_text = (change["text"] or "").lstrip(" \t*").rstrip()
        if change["add"]:
            added.append(new_text)
        elif rule and (new_text or change["verb"] != "EDIT"):
            rule["count"] += -1 if change["verb"] == "DOWNVOTE" else 1
            if change["verb"] == "EDIT":
                rule["text"] = new_text
    kept = [rule for rule in changed.values() if rule["count"] > 0]
    new = distinct(added, [rule["text"] for rule in kept])[: max(0, max_rules - len(kept))]
    return [*kept, *({"text": rule, "count": NEW_COUNT} for rule in new)]

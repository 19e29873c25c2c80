"""ExpeL style: a list of rules that votes keep alive, and successful trajectories as examples.

Source: Zhao et al., "ExpeL: LLM Agents Are Experiential Learners", AAAI 2024, arXiv 2308.10144. The agent gathers
trajectories, then a model changes a list of insights by ADD, EDIT, UPVOTE and DOWNVOTE; a new insight counts two, each
vote or edit moves the count by one, and at zero it goes. At play, all insights stand in the prompt, with those
successful trajectories that are most similar to the task.

How ours departs: gathering and extracting alternate, once per meta-step; the paper compares a success and a failure of
the same task (retries) or a list of successes, ours a batch of fresh tasks with both. The examples stand under
`MEMORY_HEADING`, and the actor picks similar ones lexically (`retrieve_items`), not by embeddings; without it,
it reads them all. At most `max_rules` rules; what is added beyond that is refused. The wording is ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from metagym.errors import ConfigError
from metagym.models import ChatModel
from metagym.reflectors.document import MEMORY_HEADING, distinct, document, latest, numbered, request
from metagym.reflectors.exchange import ask_once, has_succeeded, is_scripted, keep, memory_of, write
from metagym.reflectors.reading import CUT_OFF
from metagym.rendering import render_trajectory
from metagym.seeding import describe
from metagym.types import MetaStep, Reflection

NEW_COUNT = 2
"""What a new rule counts: it takes two votes against it to go."""

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
    r"^[ \t*\-]*(?:(?P<add>ADD)(?=\**[ \t]*:)|(?P<verb>EDIT|UPVOTE|DOWNVOTE)[ \t]+#?(?P<number>\d+))\**[ \t]*"
    r"(?::[ \t*]*(?P<text>.*\S))?",
    re.MULTILINE,
)
_NONE = re.compile(r"^[ \t*]*NONE\b", re.MULTILINE)


class ExpelStyle:
    """Keeps voted rules and successful examples.

    Memory: `{"rules": [{"text", "count"}], "examples": [text]}`, rules in the order in which they came.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        max_rules: int = 20,
        max_examples: int = 4,
        example_tokens: int = 500,
        max_tokens: int = 24_000,
    ) -> None:
        if max_rules < 1 or max_examples < 0:
            raise ConfigError(f"Expected max_rules >= 1 and max_examples >= 0, got {max_rules} and {max_examples}.")
        self.model, self.max_rules, self.max_examples = model, max_rules, max_examples
        self.example_tokens, self.max_tokens = example_tokens, max_tokens
        self.scripted = is_scripted(model)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the rules."""
        return {
            "kind": "expel_style",
            "model": describe(self.model),
            "instructions": INSTRUCTIONS,
            "max_rules": self.max_rules,
            "examples": [self.max_examples, self.example_tokens],
            "max_tokens": self.max_tokens,
        }

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Let the model vote on the rules, and keep the batch's successes as examples."""
        last = history[-1]
        memory = memory_of(history) or {"rules": [], "examples": []}
        listed = numbered([f"{rule['text']} ({rule['count']})" for rule in memory["rules"]], nothing="(no rule yet)")
        room = f"{self.max_rules - len(memory['rules'])} rules may be added."
        completion = await ask_once(
            self.model, history, INSTRUCTIONS, request(last, self.max_tokens, rules=f"{listed}\n{room}")
        )
        text = completion.text
        if completion.finish_reason == "length" or not (_CHANGE.search(text) or _NONE.search(text)):
            problem = CUT_OFF if completion.finish_reason == "length" else "The reply holds no change of the rules"
            return keep(history, problem, [completion], model=self.model)
        rules = apply_changes(memory["rules"], text, max_rules=self.max_rules)
        won = [
            render_trajectory(item, max_tokens=self.example_tokens) for item in last.trajectories if has_succeeded(item)
        ]
        examples = latest(distinct([*memory["examples"], *won]), self.max_examples)
        strongest = [rule["text"] for rule in sorted(rules, key=lambda rule: -rule["count"])]
        examples_shown = [f"An episode that succeeded:\n{example}" for example in examples]
        prompt = document(history[0].prompt, {"## Rules": strongest, MEMORY_HEADING: examples_shown})
        return write(history, prompt, {"rules": rules, "examples": examples}, [completion], model=self.model)


def apply_changes(rules: Sequence[dict[str, Any]], text: str, *, max_rules: int) -> list[dict[str, Any]]:
    """Return the rules after the changes in a reply; a rule whose count reaches zero goes.

    Numbers are those of the list that was shown; a number that is not on it changes nothing.

    >>> apply_changes([{"text": "Wait.", "count": 1}], "DOWNVOTE 1\\nADD: Knock.", max_rules=5)
    [{'text': 'Knock.', 'count': 2}]
    """
    changed = [dict(rule) for rule in rules]
    added: list[str] = []
    for change in _CHANGE.finditer(text):
        if change["add"]:
            added += [change["text"]] if change["text"] else []
            continue
        place = int(change["number"]) - 1
        if not 0 <= place < len(changed):
            continue
        if change["verb"] == "EDIT":
            if not change["text"]:
                continue
            changed[place]["text"] = change["text"]
        changed[place]["count"] += -1 if change["verb"] == "DOWNVOTE" else 1
    kept = [rule for rule in changed if rule["count"] > 0]
    new = distinct(added, [rule["text"] for rule in kept])[: max(0, max_rules - len(kept))]
    return [*kept, *({"text": rule, "count": NEW_COUNT} for rule in new)]

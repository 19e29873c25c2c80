"""Reads the parts of a game's files that differ between games: the task, the spelling of `put`, the help text.

All other rules and texts are the same in all of ALFWorld's games; `rules.py` and `observations.py` implement them. A
game with other rules or texts is refused here, so it is never played wrongly.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from metagym.envs.alfworld.pddl import Expression, PddlError, read_expression
from metagym.types import digest

TASK_PREFIX = "Your task is to: "

_ACTION = re.compile(
    r'action\s+(\w+)\s*\{\s*template\s*::\s*"([^"]*)"\s*;\s*feedback\s*::\s*"([^"]*)"\s*;'
    r'(?:\s*grammar\s*::\s*"""(.*?)"""\s*;)?\s*\}',
    re.DOTALL,
)
_COMMON = re.compile(r'^\s*grammar\s*::\s*"""(.*?)"""\s*;', re.DOTALL)
_TASK_RULE = re.compile(r'("task"\s*:\s*\[\s*\{\s*"rhs"\s*:\s*)"((?:[^"\\]|\\.)*)"')

# Digests of the rules and of the texts that `rules.py` and `observations.py` were written from.
KNOWN_DOMAIN = "bca48165d14531bb"
KNOWN_GRAMMAR = "ec9acb75c70068d3"


class Wording(NamedTuple):
    """The texts and commands that differ between games. `{o}` and `{r}` are replaced by names."""

    arrive: str = "You arrive at {r}."
    put_command: str = "move {o} to {r}"
    put_feedback: str = "You move the {o} to the {r}."
    help_text: str | None = None
    """None if the game has no command `help`."""

    @property
    def spelling(self) -> str:
        """The command that puts things down: `move` (since ALFWorld 0.4 and its data) or `put` (before)."""
        return self.put_command.split()[0]


def read_task(grammar: str) -> tuple[str, str]:
    """Return the task's sentence, and the grammar without it."""
    found = _TASK_RULE.search(grammar)
    if found is None:
        raise PddlError("the grammar has no rule 'task'")
    sentence = str(json.loads(f'"{found[2]}"')).replace("\\n", "\n")
    return sentence, _TASK_RULE.sub(r'\1""', grammar, count=1)


# Thousands of games share the same few texts.
@lru_cache(maxsize=16)
def read_wording(domain: str, grammar: str) -> Wording:
    """Return the wording in a domain and in a grammar whose task is removed."""
    # The action `help` may differ. Official games allow `clean` at a `SinkType`, too; no receptacle has that type (it
    # is a type of objects), so the line changes nothing.
    expression = [part for part in read_expression(domain) if part[:2] != [":action", "help"]]
    found = digest(_without(expression, ["receptacletype", "?r", "sinktype"]))
    if found != KNOWN_DOMAIN:
        raise PddlError(f"its rules are not those of ALFWorld's games ({found}). Use engine='textworld'")
    common = _COMMON.search(grammar)
    rules: dict[str, Any] = json.loads(common[1], strict=False) if common else {}
    actions: dict[str, list[str]] = {}
    for name, template, feedback, own_rules in _ACTION.findall(grammar):
        actions[name] = [template, feedback]
        rules.update(json.loads(own_rules, strict=False) if own_rules else {})

    help_action = actions.pop("help", None)
    help_rule = rules.pop("help.feedback", None)
    help_text = str(help_rule[0]["rhs"]) if help_rule else help_action[1] if help_action else None
    wording = Wording(
        arrive=_pop_text(rules, "GotoLocation.feedback").removesuffix(" #examineReceptacle.feedback#"),
        put_command=actions.get("PutObject", [""])[0],
        put_feedback=_pop_text(rules, "PutObject.feedback"),
        # TextWorld's grammar reader skips white space at the start of a text.
        help_text=help_text and help_text.lstrip(),
    )
    for name in ("task", "PutObject", "PutEmptyReceptacleObjectinReceptacle"):
        rules.pop(name, None)
        actions.pop(name, None)
    found = digest([rules, actions])
    if found != KNOWN_GRAMMAR:
        raise PddlError(f"its grammar is not that of ALFWorld's games ({found}). Use engine='textworld'")
    return wording


def _pop_text(rules: dict[str, Any], name: str) -> str:
    rule = rules.pop(name, None)
    if not rule or "condition" in rule[0]:
        raise PddlError(f"the grammar has no plain rule {name!r}")
    return str(rule[0]["rhs"]).replace(".name}", "}")


def _without(expression: Expression, unwanted: Expression) -> Expression:
    if isinstance(expression, str):
        return expression
    return [_without(part, unwanted) for part in expression if part != unwanted]

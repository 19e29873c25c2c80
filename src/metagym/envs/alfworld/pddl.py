"""Reads PDDL: a problem's objects, facts and goal. It knows nothing about households.

All text is converted to lower case, as in the planner of stock ALFWorld.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

Atom = tuple[str, ...]
"""A predicate and its arguments."""
Expression = str | list["Expression"]
"""A nested list, as PDDL writes it."""

# A list without inner lists is one token: most of a problem are facts, and splitting those is fast.
_TOKEN = re.compile(r"\([^()]*\)|[()]|[^\s()]+")
_COMMENT = re.compile(r";[^\n]*")


class PddlError(ValueError):
    """A text is not PDDL of the kind that ALFWorld uses."""


class Problem(NamedTuple):
    """A problem: the objects, the facts at the start, and the goal."""

    objects: dict[str, str]
    """The type of each object."""
    facts: frozenset[Atom]
    goal: Expression


def read_expression(text: str) -> list[Expression]:
    """Return the expression in `text`. Only closing parentheses may follow it: some official problems have one."""
    tokens = iter(_TOKEN.findall(_COMMENT.sub("", text).lower()))
    open_lists: list[list[Expression]] = [[]]
    for token in tokens:
        if token == "(":
            open_lists.append([])
        elif token == ")" and len(open_lists) > 1:
            done = open_lists.pop()
            open_lists[-1].append(done)
        elif token.startswith("("):
            open_lists[-1].append(list(token[1:-1].split()))
        elif token != ")" and len(open_lists) > 1:
            open_lists[-1].append(token)
        else:
            break
        if len(open_lists) == 1:
            if any(rest != ")" for rest in tokens):
                raise PddlError("expected one PDDL expression, got text after its end")
            (expression,) = open_lists[0]
            assert isinstance(expression, list)
            return expression
    if len(open_lists) == 1:
        raise PddlError("expected a PDDL expression, which begins with '('")
    raise PddlError(f"the PDDL ends early: {len(open_lists) - 1} parentheses are still open")


def read_problem(text: str) -> Problem:
    """Return the problem that `text` defines."""
    sections = {part[0]: part[1:] for part in read_expression(text) if isinstance(part, list) and part}
    missing = [name for name in (":objects", ":init", ":goal") if name not in sections]
    if missing:
        raise PddlError(f"the PDDL problem has no section {', '.join(missing)}")
    facts = frozenset(atom for fact in sections[":init"] if (atom := _as_atom(fact)))
    return Problem(dict(_typed(sections[":objects"])), facts, sections[":goal"][0])


def _typed(items: Iterable[Expression]) -> Iterator[tuple[str, str]]:
    """Yield the pairs (name, type) in a list like `a b - t c - u`."""
    names: list[str] = []
    tokens = (item for item in items if isinstance(item, str))
    for token in tokens:
        if token == "-":
            kind = next(tokens, "")
            yield from ((name, kind) for name in names)
            names = []
        else:
            names.append(token)


def _as_atom(expression: Expression) -> Atom | None:
    parts = tuple(part for part in expression if isinstance(part, str)) if isinstance(expression, list) else ()
    return parts if parts and len(parts) == len(expression) else None


Grounding = tuple[Atom, ...]
GroundGoal = tuple[tuple[Grounding, ...], ...]
"""The goal holds if all of its parts hold. A part holds if all atoms of one of its groundings hold."""


def ground_goal(goal: Expression, problem: Problem, is_static: Callable[[str], bool]) -> GroundGoal:
    """Return the goal with its variables replaced by objects and its static atoms evaluated.

    The goal must be a conjunction of `exists` over conjunctions, as all of ALFWorld's goals are; `exists` may nest.
    A part that can never hold has no grounding.
    """
    parts = goal[1:] if isinstance(goal, list) and goal and goal[0] == "and" else [goal]
    return tuple(_ground_part(part, problem, is_static) for part in parts)


def _ground_part(part: Expression, problem: Problem, is_static: Callable[[str], bool]) -> tuple[Grounding, ...]:
    variables: dict[str, str] = {}
    atoms: list[Atom] = []
    _flatten(part, variables, atoms)
    unequal = [atom[1:] for atom in atoms if atom[0] == "not ="]
    plain = [atom for atom in atoms if atom[0] != "not ="]
    static = list(dict.fromkeys(atom for atom in plain if is_static(atom[0])))
    dynamic = [atom for atom in plain if not is_static(atom[0])]
    bindings: list[dict[str, str]] = [{}]
    for atom in static:
        bindings = list(_extend(bindings, atom, variables, problem))
    found: dict[Grounding, None] = {}
    for binding in bindings:
        free = [name for name in variables if name not in binding]
        domains = [[item for item, kind in problem.objects.items() if kind == variables[name]] for name in free]
        for values in itertools.product(*domains):
            bound = {**binding, **dict(zip(free, values, strict=True))}
            if all(bound[left] != bound[right] for left, right in unequal):
                found[tuple((atom[0], *(bound.get(name, name) for name in atom[1:])) for atom in dynamic)] = None
    return tuple(found)


def _flatten(part: Expression, variables: dict[str, str], atoms: list[Atom]) -> None:
    """Collect the variables and atoms of nested `exists` and `and`."""
    if not isinstance(part, list) or not part:
        raise PddlError(f"expected a goal of exists, and, atoms; got {part!r}")
    head, *rest = part
    if head == "exists" and len(rest) == 2 and isinstance(rest[0], list):
        new = dict(_typed(rest[0]))
        if not new.keys().isdisjoint(variables):
            raise PddlError(f"expected each variable of the goal once, got {sorted(new)} again")
        variables.update(new)
        _flatten(rest[1], variables, atoms)
    elif head == "and":
        for item in rest:
            _flatten(item, variables, atoms)
    elif head == "not" and len(rest) == 1 and (equal := _as_atom(rest[0])) and equal[0] == "=":
        atoms.append(("not =", *equal[1:]))
    elif head not in ("or", "not", "forall", "imply", "when", "=") and (atom := _as_atom(part)):
        atoms.append(atom)
    else:
        raise PddlError(f"expected a goal of exists, and, atoms; got {head!r}")


def _extend(
    bindings: Iterable[dict[str, str]], atom: Atom, variables: Mapping[str, str], problem: Problem
) -> Iterator[dict[str, str]]:
    """Yield the extended bindings under which the static `atom` is a fact, too."""
    facts = sorted(
        fact
        for fact in problem.facts
        if (fact[0], len(fact)) == (atom[0], len(atom))
        and all(
            problem.objects.get(value) == variables[name] if name in variables else name == value
            for name, value in zip(atom[1:], fact[1:], strict=True)
        )
    )
    for binding in bindings:
        for fact in facts:
            extended = dict(binding)
            if all(extended.setdefault(name, value) == value for name, value in zip(atom[1:], fact[1:], strict=True)):
                yield extended

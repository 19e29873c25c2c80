"""Arms: what is evaluated side by side, and the kind of each: a method, the same method again, a null control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from metagym.reflectors import Reflector

ArmKind = Literal["method", "same again", "null control", "tuning"]
"""`same again` is the A/A run. `tuning` is the run that a constant prompt was tuned by: it is compared with nothing."""
CONTROLS: Final = (
    "same again",
    "no reflection",
    "empty experience",
    "scrambled observations",
    "permuted outcomes",
    "other family",
    "constant prompt",
)
"""The names of the controls. `same again` measures the noise floor; the others are null controls."""


class Arm(NamedTuple):
    """A reflector under the name that it is evaluated by, and the families that it learns on."""

    name: str
    reflector: Reflector
    learn_from: Mapping[str, str] = {}
    kind: ArmKind = "method"


def kind_of_control(control: str) -> ArmKind:
    """Return the kind of the arm that plays this control."""
    return "same again" if control == "same again" else "null control"


def is_control(kind: ArmKind) -> bool:
    """Return whether the arm is there to be compared with: the A/A run or a null control."""
    return kind in ("same again", "null control")


def recorded_kind(evaluation: Mapping[str, Any] | None) -> ArmKind:
    """Return the kind of arm in a manifest's `evaluation` mapping.

    >>> recorded_kind({"arm": "mine", "kind": "null control"}), recorded_kind({"arm": "same again (ict)"})
    ('null control', 'same again')
    """
    about = evaluation or {}
    return about["kind"] if "kind" in about else _kind_by_name(str(about.get("arm", "")))


def _kind_by_name(arm: str) -> ArmKind:
    """Return the kind of an arm in a folder of version 0.1, which wrote no kind. Nothing else may read names."""
    name = arm.partition(" (")[0]  # an arena added the method: "same again (ict)"
    if name in CONTROLS:
        return kind_of_control(name)
    return "tuning" if arm == "tuning" else "method"

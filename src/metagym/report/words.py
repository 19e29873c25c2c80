"""Numbers and headlines as a reader wants them: one minus sign, one number of digits, no claim beyond the table."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.evaluation import arms
from metagym.evaluation.report import EvaluationReport
from metagym.rendering import plural
from metagym.report.sources import Run
from metagym.statistics import Estimate

MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return the number with a real minus sign; a dash where there is none.

    >>> number(-0.125, 3), number(0.5, sign=True), number(None)
    ('−0.125', '+0.50', '–')
    """
    if value is None:
        return "–"
    text = format(value, f".{digits}f")
    if float(text) == 0.0:
        return text.removeprefix("-")
    return f"+{text}" if sign and value > 0 else text.replace("-", MINUS)


def interval(estimate: Estimate | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return `[low, high]`, or what stands in its place."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"[{number(estimate.low, digits, sign=sign)}, {number(estimate.high, digits, sign=sign)}]"


def mean(estimate: Estimate | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return the mean alone."""
    return number(None if estimate is None else estimate.mean, digits, sign=sign)


def p_value(value: float | None) -> str:
    """Return a p value; small ones as a bound."""
    return "<0.0001" if value is not None and value < 1e-4 else number(value, 4)


def is_control(run: Run) -> bool:
    """Return whether the run is a control arm: the A/A run or a null control."""
    return arms.is_control(run.arm_kind)


def headline(group: Sequence[Run]) -> tuple[str, str]:
    """Return what the first run of a group showed, in a sentence, and under it what that rests on."""
    run = group[0]
    if run.report is not None:
        return _evaluation_headline(run, run.report, group)
    if run.stream is not None:
        told = f"online score {mean(run.stream.online_mean)} {interval(run.stream.online_mean)}"
        config = run.stream.config
        basis = f"{plural(len(config.families), 'family')} in a stream, {plural(config.num_seeds, 'seed')}"
        forgetting = mean(run.stream.forgetting, sign=True)
        return f"{run.name}: {told}", f"{basis}; forgetting {forgetting} {interval(run.stream.forgetting)}"
    if run.kind == "meta-episode" and run.history:
        return _single_headline(run)
    if run.kind == "unreadable":
        return "This folder cannot be read", ""  # why stands in a note of its own
    if run.num_episodes == 0:
        return "No meta-step is finished yet", "The log is empty. The command that began it goes on."
    return "No meta-step is finished yet", (
        f"{plural(run.num_episodes, 'episode')} in the log: see them under Episodes. The command that began it goes on."
    )


def _evaluation_headline(run: Run, report: EvaluationReport, group: Sequence[Run]) -> tuple[str, str]:
    verdict = report.verdict.replace("-", MINUS)
    config = report.config
    verdict, _, further = verdict.partition("; ")
    first, _, rest = verdict.partition(": ")
    controls = sum(map(is_control, group))
    others = len(group) - 1 - controls
    against = [plural(count, noun) for count, noun in ((controls, "control arm"), (others, "other arm")) if count]
    basis = (
        f"{report.num_seeds} of {plural(config.num_seeds, 'seed')}"
        if report.num_seeds != config.num_seeds
        else plural(config.num_seeds, "seed")
    )
    sentence = f"{run.name} is {first}" if first.startswith(("better", "worse", "not shown")) else first
    return (
        f"{sentence}: {rest}" if rest else sentence,
        (f"{further[0].upper()}{further[1:]}. " if further else "")
        + "Test score of the prompt chosen on validation, minus sp_0 played afresh. "
        f"{plural(len(config.families), 'family')}, {basis}, {config.num_test} test tasks each"
        + (f"; compared with {' and '.join(against)}." if against else "; no other arm to compare with."),
    )


def _single_headline(run: Run) -> tuple[str, str]:
    rewards = [meta_step.reward for meta_step in run.history if meta_step.reward is not None]
    num_episodes = sum(len(meta_step.trajectories) for meta_step in run.history)
    asked = 0 if run.manifest is None else run.manifest.num_steps
    steps = plural(len(run.history), "meta-step")
    if len(run.history) < asked:
        steps = f"{len(run.history)} of {plural(asked, 'meta-step')}"
    basis = (
        f"{steps}, {plural(num_episodes, 'episode')}. One meta-episode is one "
        "replicate: this is a course, with no interval and no claim about an effect."
    )
    if not rewards:
        return "Every episode failed: the apparatus gave no score", basis
    if len(rewards) == 1:
        return f"Mean score {number(rewards[0])} in the one finished meta-step", basis
    return f"Mean score from {number(rewards[0])} to {number(rewards[-1])} over {len(rewards)} meta-steps", basis

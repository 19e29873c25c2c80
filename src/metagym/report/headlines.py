"""Headlines: the result of a run in one sentence, and its basis. No claim goes beyond the tables."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.evaluation.arena import Standings
from metagym.evaluation.output.tables import budget_text
from metagym.evaluation.report import EvaluationReport
from metagym.rendering import plural
from metagym.report.number_format import MINUS, format_interval, format_mean, format_number
from metagym.report.run_reading import Run


def headline(group: Sequence[Run]) -> tuple[str, str]:
    """Return the result of a group's first run in one sentence, and its basis."""
    run = group[0]
    if run.report is not None:
        return _evaluation_headline(run, run.report, group)
    if run.stream is not None:
        score = f"online score {format_mean(run.stream.online_mean)} {format_interval(run.stream.online_mean)}"
        config = run.stream.config
        basis = f"{plural(len(config.families), 'family')} in a stream, {plural(config.num_seeds, 'seed')}"
        forgetting = format_mean(run.stream.forgetting, sign=True)
        return f"{run.name}: {score}", f"{basis}; forgetting {forgetting} {format_interval(run.stream.forgetting)}"
    if run.kind == "meta-episode" and run.history:
        return _single_headline(run)
    if run.kind == "unreadable":
        return "This folder cannot be read", ""  # the reason is in a note
    log = f"{plural(run.num_episodes, 'episode')} in the log: see them under Episodes." if run.num_episodes else ""
    return "No meta-step is finished yet", f"{log or 'The log is empty.'} Give the same command again to continue."


def _evaluation_headline(run: Run, report: EvaluationReport, group: Sequence[Run]) -> tuple[str, str]:
    verdict = report.verdict.replace("-", MINUS)
    config = report.config
    verdict, _, further = verdict.partition("; ")
    first, _, rest = verdict.partition(": ")
    controls = sum(run.is_control for run in group)
    others = len(group) - 1 - controls
    against = [plural(count, noun) for count, noun in ((controls, "control arm"), (others, "other arm")) if count]
    seeds = plural(config.num_seeds, "seed")
    if report.num_seeds != config.num_seeds:
        seeds = f"{report.num_seeds} of {seeds}"
    sentence = f"{run.name} is {first}" if first.startswith(("better", "worse", "not shown")) else first
    tested = "prompt chosen on validation" if config.num_validation else "last prompt"
    return (
        f"{sentence}: {rest}" if rest else sentence,
        (f"{further[0].upper()}{further[1:]}. " if further else "")
        + f"Test score of the {tested}, minus the score of sp_0. "
        f"{plural(len(config.families), 'family')}, {seeds}, {config.num_test} test tasks each"
        + (f"; compared with {' and '.join(against)}." if against else "; no other arm to compare with."),
    )


def _single_headline(run: Run) -> tuple[str, str]:
    rewards = [meta_step.reward for meta_step in run.history if meta_step.reward is not None]
    episodes = plural(sum(len(meta_step.trajectories) for meta_step in run.history), "episode")
    asked = 0 if run.manifest is None else run.manifest.num_steps
    steps = plural(len(run.history), "meta-step")
    if len(run.history) < asked:
        steps = f"{len(run.history)} of {plural(asked, 'meta-step')}"
    basis = f"{steps}, {episodes}. One meta-episode is one replicate: this is one curve, with no interval and no claim "
    basis += "about an effect."
    if not rewards:
        return "Every episode failed for infrastructure reasons: there is no score", basis
    if len(rewards) == 1:
        return f"Mean score {format_number(rewards[0])} in the one finished meta-step", basis
    course = f"from {format_number(rewards[0])} to {format_number(rewards[-1])}"
    return f"Mean score {course} over {len(rewards)} meta-steps", basis


def standings_headline(standings: Standings) -> tuple[str, str]:
    """Return the result of the arena in one sentence, and its basis."""
    methods = [row for row in standings.rows if not row.is_control]
    controls = len(standings.rows) - len(methods)
    basis = (
        "Test score of the prompt that each method returns. "
        f"{plural(len(standings.families), 'family')}, {plural(standings.num_seeds, 'seed')}, the same tasks in all "
        f"arms; {plural(controls, 'control arm')}. Each meta-episode may take {budget_text(standings)} to learn."
    )
    if standings.scripted:
        return f"{plural(len(methods), 'method')} side by side with a script: no method is ranked", basis
    best = f"{methods[0].arm} scored highest, {format_mean(methods[0].test)}"
    if standings.winner_by_split is not None:
        best += f" (chosen on other seeds than scored on: {format_number(standings.winner_by_split)})"
    sentence = f"{plural(len(methods), 'method')} under equal budgets: {best}"
    return sentence, f"{basis} A difference whose interval contains 0 is not shown to exist."

"""Statistics: intervals, tests and bounds over seeds, each with its source.

intervals      mean, Student's t interval, sign flip, two-way bootstrap, Holm, equivalence
simultaneous   intervals of several estimates that hold together, ranks, the luck of the first row
sequences      intervals that may be looked at after each seed
student_t      Student's t without scipy, the power of the paired t test, and its inverses
"""

from metagym.statistics.intervals import (
    MIN_SEEDS_FOR_SIGN_FLIP,
    Estimate,
    equivalence_p,
    finite_mean,
    holm,
    macro_average,
    mean_interval,
    sign_flip_p,
    two_way_bootstrap,
    welch_difference,
)
from metagym.statistics.sequences import at_any_look, at_any_look_bounded
from metagym.statistics.simultaneous import chosen_on_other_seeds, rank_intervals, together
from metagym.statistics.student_t import detectable_effect, paired_power, seeds_needed, t_cdf, t_quantile, two_sided_p

__all__ = [
    "MIN_SEEDS_FOR_SIGN_FLIP",
    "Estimate",
    "at_any_look",
    "at_any_look_bounded",
    "chosen_on_other_seeds",
    "detectable_effect",
    "equivalence_p",
    "finite_mean",
    "holm",
    "macro_average",
    "mean_interval",
    "paired_power",
    "rank_intervals",
    "seeds_needed",
    "sign_flip_p",
    "t_cdf",
    "t_quantile",
    "together",
    "two_sided_p",
    "two_way_bootstrap",
    "welch_difference",
]

"""Measuring reflectors: the ICT protocol, its figures, comparisons and null controls.

protocol.py      evaluate: what is played          config.py, plan.py   what is asked for, drawn and checked
scoring.py       meta-steps and measurements       disjointness.py      nothing measures what learns
figures.py       every figure of a report          report.py, store.py  the report, and where it is kept
comparison.py    arms against each other           controls.py, constant_prompt.py   null controls
stream.py        families one after another        transfer.py, memorisation.py      where prompts help, what they copy
preset.py, campaign.py   protocols by name, in presets/
tables.py, plots.py, notebook.py, exports.py   for people and others
"""

from metagym.evaluation.comparison import Comparison, compare
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.protocol import evaluate
from metagym.evaluation.report import EvaluationReport

__all__ = ["Comparison", "EvaluationConfig", "EvaluationReport", "compare", "evaluate"]

"""Measures reflectors: the ICT protocol, its figures, comparisons and null controls.

protocol.py      evaluate: the episodes of the protocol   config.py, plan.py   the options; tasks, drawn and checked
scoring.py       meta-steps, measurements, the guard      learning.py          learning within a budget
gains.py         every figure of a report                 report.py, store.py  the report, and its place
comparison.py, pairing.py   arms against each other       controls.py, constant_prompt.py   arms and null controls
transfer.py      prompts scored elsewhere                 family_stream.py     families one after another
difficulty.py, task_check.py   are the tasks of all roles and meta-steps equally hard?   scale.py   bounds of scores
preset.py        protocols by name, in presets/           memorisation.py      text copied from learning episodes
extension.py     more seeds for a finished evaluation    variance.py    the sources of noise
gate.py          two prompts, and whether to keep the new one
campaign.py      a preset, played with its controls
arena/           methods side by side, under equal budgets
output/          tables, figures and files
"""

from metagym.evaluation.comparison import Comparison, compare
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.protocol import evaluate
from metagym.evaluation.report import EvaluationReport

__all__ = ["Comparison", "EvaluationConfig", "EvaluationReport", "compare", "evaluate"]

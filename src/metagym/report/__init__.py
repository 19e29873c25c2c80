"""The HTML report: one self-contained page about any number of runs. It reads run folders and plays nothing.

page.py               the page: all parts in one file       run_reading.py        run folders as values
headlines.py          the result in a sentence              table_rows.py         figures, comparisons, costs
learning_curves.py    curves: which, and as SVG             heat_map.py           heat maps: which, and as SVG
prompt_history.py     prompts: scores and word changes      notebook_html.py      records in a notebook
episode_selection.py  which episodes are shown              embedded_episodes.py  episodes, compressed
number_format.py      numbers as text                       svg.py                SVG elements and whiskers

Every statistic comes from `evaluation` or `statistics`; this package only lays it out. The page opens offline:
its style, its script and the compressed episodes are in it, and its policy forbids everything else.
"""

from metagym.report.page import make_report

__all__ = ["make_report"]

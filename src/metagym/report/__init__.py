"""The HTML report: one self-contained page of any number of runs. It reads run folders, and plays nothing.

    RUN folders -> sources.Run -> sections (headline, curves, heat maps, comparisons, costs) -> one HTML file

Every statistic comes from `evaluation` or `statistics`; this package only lays it out. The page opens offline:
its style, its script and the compressed episodes are in it, and its policy forbids everything else.
"""

from metagym.report.page import make_report

__all__ = ["make_report"]

"""The example report: the run in results/example_run, of a language model, as the site's example_report.html."""

from pathlib import Path
from typing import Any

from metagym.report import make_report


def _write(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        make_report([Path(app.srcdir) / "results" / "example_run"], Path(app.outdir) / "example_report.html")


def setup(app: Any) -> None:
    """Connect the hook."""
    app.connect("build-finished", _write)

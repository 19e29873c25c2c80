"""The documentation site: Sphinx, MyST, furo. `python -m sphinx -W --keep-going docs build/site` builds it.

Sphinx and not Zensical, though both are alive: with -W Sphinx checks each link, each anchor and the docstrings at once.
"""

import builtins
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE / "_ext")]
# The imported modules must not find games: the reference would then show paths of this machine.
os.environ.pop("ALFWORLD_DATA", None)

import metagym  # noqa: E402

project = "metagym"
author = "The metagym authors"
copyright = author
version = release = metagym.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_copybutton"]
extensions += ["modules", "docstrings", "commands", "example_report"]  # in _ext/
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"metagym {version}"
html_css_files = ["metagym.css"]
html_static_path = ["_static"]
html_extra_path = ["_extra"]  # llms.txt, for coding agents
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init", "undoc-members": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 110

# An exception that a docstring names must exist. Types in signatures may be another package's, or within metagym:
# those are plain text.
nitpicky = True
suppress_warnings = ["ref.python"]  # `type` in an annotation is a field of several records
nitpick_ignore_regex = [
    (r"py:(?!exc).*", r".*"),
    (r"py:exc", rf"{'|'.join(vars(builtins))}|(?!metagym\.)[a-z_]+\..*"),
]

"""How Sphinx shows the documentation; tools/docs_site.py prepares its pages and runs it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import mmdr
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

#: Of a drawing's own size, in which letters have 16 px.
SCALE = 0.7

project = "RetailFlow"
release = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser"]
# As code hosts do: headings down to the fourth level have anchors, and ```mermaid is a drawing.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
# Examples have an … where a value goes; no lexer knows it.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False


class Mermaid(SphinxDirective):
    """A diagram, drawn while the site is built: a browser needs no script for it, and what is wrong in it is a warning."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing; its letters keep a size that can be read, and it scrolls where the page is narrower."""
        try:
            svg: str = mmdr.render("\n".join(self.content)).svg()
        except ValueError as error:
            return [self.state.document.reporter.warning(str(error), line=self.lineno)]
        # Each drawing has names of its own: they are those of the whole page.
        svg = svg.replace("merman", f"diagram-{self.env.new_serialno('diagram')}")
        natural = re.search(r'viewBox="\S+ \S+ (\S+) ', svg)
        assert natural, "what draws gives every drawing a size"
        svg = svg.replace('width="100%"', f'width="{round(float(natural[1]) * SCALE)}"', 1)
        return [nodes.raw("", f'<div class="diagram">{svg}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True}

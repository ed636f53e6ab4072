#!/usr/bin/env python3
"""Build the documentation as a site: tools/docs_site.py [FOLDER], by default .cache/docs; the site is FOLDER/site.

The pages are the tree's own files, unchanged and laid out as in the tree, so a link works here and on a code host alike. An
index and the pages of reference are added. A link or an anchor that leads nowhere, a picture that is missing, a page without
a place in the index and anything that a page would fetch from elsewhere end the build with 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import docs_reference
import map as folders

ROOT = docs_reference.ROOT
PAGES = re.compile(r"(?:[A-Z]+|docs/[\w-]+|\w+/README|roles/[\w-]+/README)\.md")
# The index, by what a reader wants: to learn, to do, to look up, to understand (diataxis.fr).
INDEX = {
    "Tutorial": ["docs/tutorial", "docs/your-own-table"],
    "How-to guides": ["docs/machines", "docs/operations", "docs/runbooks", "CONTRIBUTING"],
    "Reference": [
        "reference/commands",
        "reference/roles",
        "reference/flows",
        "reference/alerts",
        "docs/costs",
        "CHANGELOG",
    ],
    "Explanation": [
        "What it is <README>",
        "docs/architecture",
        "docs/security",
        "The generator <lambda/README>",
        "dagster/README",
        "dbt/README",
        "emulators/README",
    ],
}
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)")
#: What a browser fetches by itself when it opens a page, from an address of another server.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon|modulepreload))[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(["']?((?:https?:)?//[^"')]+)|@import\s+["']((?:https?:)?//[^"']+)""",
    re.I,
)


def sources() -> list[Path]:
    """The pages, and the files of the tree that they link to."""
    pages = [ROOT / name for name in folders.files((".md",)) if PAGES.fullmatch(name)]
    linked = {
        (page.parent / target).resolve()
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
    }
    return [
        *pages,
        *sorted(path for path in linked - set(pages) if path.is_file() and path.is_relative_to(ROOT)),
    ]


def index() -> str:
    """The first page."""
    parts = ["# Documentation of RetailFlow\n"]
    for caption, pages in INDEX.items():
        listed = "\n".join(f"/{page}" if "<" not in page else page.replace("<", "</") for page in pages)
        parts.append(f"## {caption}\n\n```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n{listed}\n```\n")
    return "\n".join(parts)


def prepare(folder: Path) -> None:
    """Lay out what Sphinx reads."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sources():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (folder / "reference").mkdir()
    for name, text in docs_reference.pages().items():
        (folder / "reference" / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / "index.md").write_text(index(), encoding="utf-8")


def fetched_elsewhere(site: Path) -> Iterator[str]:
    """Yield what pages or their styles would fetch from another server."""
    for path in sorted(path for path in site.rglob("*") if path.suffix in (".html", ".css")):
        for match in FETCHED.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: fetches {next(filter(None, match.groups()))}"


def leads_nowhere(site: Path) -> Iterator[str]:
    """Yield what pages link to or show and the site lacks, also from HTML in Markdown, which Sphinx does not read."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    for page, text in texts.items():
        for link in sorted(set(re.findall(r'<[^>]*\b(?:href|src)="([^"]+)"', text))):
            if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / unquote(path.split("?")[0])).resolve() if path else page
            if not target.is_file() or (anchor and target in names and unquote(anchor) not in names[target]):
                yield f"{page.relative_to(site)}: {link} leads nowhere"


def main() -> int:
    """Build and check the site; return the exit status."""
    folder = Path(sys.argv[1] if sys.argv[1:] else ROOT / ".cache/docs").resolve()
    pages, site = folder / "pages", folder / "site"
    prepare(pages)
    shutil.rmtree(site, ignore_errors=True)
    # All is read each time (-E): a page that Sphinx remembers would not be warned of again.
    options = ["-W", "--keep-going", "-n", "-q", "-E", "-d", str(folder / "read"), "-c", str(ROOT / "docs")]
    command = [sys.executable, "-m", "sphinx", *options, str(pages), str(site)]
    if subprocess.run(command, check=False).returncode:
        return 1
    if problems := [*leads_nowhere(site), *fetched_elsewhere(site)]:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"The documentation: {site}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# ruff: noqa: INP001 - a script, not a package
"""Build the documentation: `make docs`.

1. settings.md gets the keys, types and defaults that adapter/config has now.
2. Every link between the pages and to files of the project must lead somewhere.
3. The pages become HTML in site/, readable without a server or a network.
"""

import html
import itertools
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import settings_table
from markdown_it import MarkdownIt
from markdown_it.token import Token

from adapter.config import Settings

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
MARKDOWN = MarkdownIt("commonmark").enable("table")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
nav a {{ margin-right: 1rem; }}
pre, table {{ display: block; overflow-x: auto; }}
pre {{ background: #8881; padding: .8rem; border-radius: .3rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #8886; padding: .2rem .6rem; text-align: left; vertical-align: top; }}
</style></head>
<body><nav>{nav}</nav>
{body}</body></html>
"""


def pages() -> list[Path]:
    """Return every page, the README first."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *sorted((ROOT / "docs").glob("*.md"))]


def _parse(page: Path) -> list[Token]:
    """Return a page's tokens, each heading with the anchor that GitHub gives it."""
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    for token, content in itertools.pairwise(tokens):
        if token.type == "heading_open":
            words = re.sub(r"[^\w\- ]", "", content.content.lower())
            token.attrSet("id", words.replace(" ", "-"))
    return tokens


def _links(tokens: list[Token]) -> Iterator[tuple[Token, str, str]]:
    """Yield (token, path, anchor) for every link that stays inside the project."""
    for token in itertools.chain.from_iterable(t.children or [] for t in tokens):
        target = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if target and not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield token, path, anchor


def dead_links(page: Path) -> list[str]:
    """Return a line for every link of `page` that leads nowhere."""
    faults = []
    for _, path, anchor in _links(_parse(page)):
        file = (page.parent / path).resolve() if path else page
        if not file.is_file():
            faults.append(f"{page.relative_to(ROOT)}: {path} is not a file")
        elif anchor and all(token.attrs.get("id") != anchor for token in _parse(file)):
            faults.append(f"{page.relative_to(ROOT)}: {path} has no heading #{anchor}")
    return faults


def _title(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return next(line[2:] for line in text.splitlines() if line.startswith("# "))


def render(page: Path, titles: Mapping[Path, str]) -> str:
    """Return `page` as HTML, its links leading to the other pages' HTML."""
    tokens = _parse(page)
    for token, path, anchor in _links(tokens):
        target = re.sub(r"\.md$", ".html", path) + (f"#{anchor}" if anchor else "")
        token.attrSet("href" if token.type == "link_open" else "src", target)
    up = "../" * (len(page.relative_to(ROOT).parts) - 1)
    nav = "\n".join(
        f'<a href="{up}{other.relative_to(ROOT).with_suffix(".html")}">{html.escape(name)}</a>'
        for other, name in titles.items()
    )
    body = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    return PAGE.format(title=html.escape(titles[page]), nav=nav, body=body)


def write_site(site: Path) -> None:
    """Write every page, and every file of the project that one links to, under `site`."""
    titles = {page: _title(page) for page in pages()}
    for page in titles:
        target = (site / page.relative_to(ROOT)).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(page, titles), encoding="utf-8")
        files = {(page.parent / path).resolve() for _, path, _ in _links(_parse(page)) if path}
        for file in (f for f in files if f.suffix != ".md"):
            copy = site / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def main() -> int:
    """Build everything; return 1 if a page is wrong."""
    page = ROOT / "docs" / "settings.md"
    text, faults = settings_table.updated(page.read_text(encoding="utf-8"), Settings)
    page.write_text(text, encoding="utf-8")
    faults += [fault for page in pages() for fault in dead_links(page)]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    shutil.rmtree(SITE, ignore_errors=True)
    write_site(SITE)
    print(f"{len(pages())} pages in {SITE.relative_to(ROOT)}/, starting at README.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())

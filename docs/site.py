"""What `make docs` does beyond mkdocs: pages of files that are not in docs/, links to these, two checks."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# Files that are read where they are, on the forge too, and are pages here.
PAGES = {
    "CHANGELOG.md": "changes.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "deploy/README.md": "deploy.md",
}
_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)\s]+)\)")
_LOADS = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\s(?:src|href)=["']?(?:https?:)?//[^>]*""")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not below docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Has links between files of the repository lead to pages; what is no page is named without a link."""
    place = page.file.src_uri
    folder = posixpath.dirname(_SOURCES.get(place, f"docs/{place}"))

    def led(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or ":" in path:
            return match[0]
        file = posixpath.normpath(posixpath.join(folder, path))
        uri = "index.md" if file == "README.md" else PAGES.get(file, file.removeprefix("docs/"))
        if uri == file and (ROOT / file).exists():
            return text
        return f"{mark}[{text}]({posixpath.relpath(uri, posixpath.dirname(place) or '.')}{hash_sign}{anchor})"

    # Not in code: every second part is between fences.
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [_LINK.sub(led, part) for part in parts[::2]]
    return "".join(parts)


def on_post_page(output: str, page: Page, config: Any) -> str:
    """Refuses a page that loads something from elsewhere."""
    if (found := _LOADS.search(output)) is not None:
        raise PluginError(f"{page.file.src_uri} would load something from elsewhere: {found[0]}")
    return output


def on_post_build(config: Any) -> None:
    """Refuses a reference in which something public is missing."""
    pages = "".join(
        page.read_text(encoding="utf-8") for page in Path(config.site_dir, "reference").glob("*.html")
    )
    there = set(re.findall(r'\bid="otlpfast\.(?:[\w.]+\.)?(\w+)"', pages))
    package = ROOT / "src" / "otlpfast"
    for module in [*package.glob("[a-z]*.py"), package / "__init__.py", *package.glob("[a-z]*/__init__.py")]:
        if missing := set(_public(module)) - there:
            raise PluginError(f"docs/reference has nothing of {', '.join(sorted(missing))} in {module}")


def _public(module: Path) -> list[str]:
    """The names in `__all__` of a source file that are no constants; none where it has no `__all__`."""
    for statement in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return [
                name
                for name in ast.literal_eval(statement.value)
                if not name.startswith("_") and name.upper() != name
            ]
    return []

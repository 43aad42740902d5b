"""What the site shows besides docs/: notebooks, results and changes, which lie beside that folder."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "RESULTS.md",
    "CHANGELOG.md",
    *(f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))),
)


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, with PAGES."""
    for name in PAGES:
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page, its links to what lies beside docs/ turned into links within the site."""
    return markdown.replace("](docs/", "](").replace("](../notebooks/", "](notebooks/")

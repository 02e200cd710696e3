"""What MkDocs does to the pages besides rendering them."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Any, **unused: Any) -> str:
    """The changelog is the file at the root of the repository, whose links start there."""
    if page.file.src_uri != "changelog.md":
        return markdown
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.replace("](docs/methods)", "](methods/README.md)").replace("](docs/", "](")

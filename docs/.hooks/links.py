"""Makes links of what a page names in backquotes: `concepts/delivery.md`,
`docs/contributing/redis.md`, `contributing/decisions/0006`.

In the files they stay names, which read well in an editor and on a terminal. A link out of docs/
leads somewhere in the repository only: on the site its label and the file's name remain.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

_FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?<!\[)`(?:docs/)?((?:[a-z]+/)*[a-z0-9-]+\.md|contributing/decisions/\d{4})`")
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: Any) -> str:
    """MkDocs calls it with each page's source."""
    folder = posixpath.dirname(page.file.src_uri)
    pages = [file.src_uri for file in files.documentation_pages()]

    def link(found: re.Match[str]) -> str:
        for target in pages:
            if target == found[1] or target.startswith(f"{found[1]}-"):
                return f"[{found[0]}]({posixpath.relpath(target, folder or '.')})"
        return found[0]

    def name_outside(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, found[2]))
        return found[0] if path.startswith("docs/") else f"{found[1]} (`{path}`)"

    parts, end = [], 0
    for fence in _FENCES.finditer(markdown):
        parts += [_NAME.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    text = "".join([*parts, _NAME.sub(link, markdown[end:])])
    return _LINK.sub(name_outside, text)

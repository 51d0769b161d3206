"""``make pictures``: keep the screenshots that the guides show, in little room.

The browser tests have put all of theirs into ``docs/images`` before.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from tests.support.environment import CHECKOUT

DOCS = CHECKOUT / "docs"
IMAGES = DOCS / "images"
GUIDES = (DOCS / "操作手順書.md", DOCS / "依頼者ガイド.md")


def shown(guide: Path) -> set[Path]:
    """Return the pictures that a guide shows, whether they exist or not."""
    links = re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", guide.read_text("utf-8"))
    return {guide.parent / unquote(link) for link in links}


def main() -> None:
    wanted = set().union(*map(shown, GUIDES))
    for file in sorted(IMAGES.glob("*.png")):
        if file not in wanted:
            file.unlink()
            continue
        with Image.open(file) as picture:
            if picture.mode == "P":
                continue  # it was here before
            # Flat areas and text: 128 colours are as good as all, at a third of the size.
            small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        small.save(file, optimize=True)
    missing = sorted(path.name for path in wanted if not path.exists())
    if missing:
        raise SystemExit(f"the browser tests took no picture named {', '.join(missing)}")


if __name__ == "__main__":
    main()

"""Constraints for the versions at the edges: `python tools/bounds.py lowest|newest [--python
3.11]`.

`lowest` pins each requirement in settings.ini to its lower bound; `newest` pins only what is capped
there anyway, so that an installer takes the newest of everything.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sync import settings

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("requirements", "offline_requirements", "demo_requirements")


def lowest(requirement: str) -> str | None:
    "The lower bound of a requirement as a pin; None for one that has none."
    bound = re.search(r">=([\d.]+)", requirement)
    name = re.match(r"[\w-]+", requirement)[0]
    return f"{name}=={bound[1]}" if bound else None


def constraints(which: str) -> list[str]:
    cfg = settings(ROOT)
    wanted = " ".join(cfg[group] for group in GROUPS).split()
    if which == "newest":
        return []
    return [pin for pin in map(lowest, wanted) if pin]


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("lowest", "newest"):
        sys.exit("say which: lowest or newest")
    print("\n".join(constraints(sys.argv[1])))

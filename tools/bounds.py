"""Constraints for the versions at the edges: `python tools/bounds.py lowest|lowest-engines|newest`.

`lowest` pins each requirement in settings.ini to its lower bound, `lowest-engines` also those of
the engines, which ask for a later PyTorch; `newest` pins nothing, so that an installer takes the
newest of everything that settings.ini allows.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sync import settings

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("requirements", "offline_requirements", "demo_requirements")
ENGINES = ("onnx_requirements", "openvino_requirements")


def lowest(requirement: str) -> str | None:
    "The lower bound of a requirement as a pin; None for one that has none."
    bound = re.search(r">=([\d.]+)", requirement)
    name = re.match(r"[\w-]+", requirement)[0]
    return f"{name}=={bound[1]}" if bound else None


def constraints(which: str) -> list[str]:
    "The pins; of a package that stands in several groups, the last one."
    if which == "newest":
        return []
    cfg = settings(ROOT)
    groups = GROUPS + (ENGINES if which == "lowest-engines" else ())
    pins = filter(None, (lowest(wish) for group in groups for wish in cfg[group].split()))
    return list({pin.partition("==")[0]: pin for pin in pins}.values())


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("lowest", "lowest-engines", "newest"):
        sys.exit("say which: lowest, lowest-engines or newest")
    print("\n".join(constraints(sys.argv[1])))

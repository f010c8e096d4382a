"""What the site does to the Markdown of a page, so that the notebooks stay readable as they are.

- `> **Note.** ...` becomes a callout
- commands for a shell get the language that brings a copy button
- a badge from another host becomes a link in words
- the columns of a table become as wide as what they hold
- the first use of each term of the glossary leads to it
"""

import json
import re
from functools import lru_cache
from pathlib import Path

CALLOUTS = {"What goes wrong": "warning", "Note": "note", "Tip": "tip"}
SHELL = r"(pip|git|make|squadqa|accelerate|torchrun|hf|cd|jupyter|python|\.venv/bin/\w+) "
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")
# What is no prose: fences, headings, tables, HTML, links and pictures, code between backticks.
NO_PROSE = re.compile(
    r"(^(?:```|~~~).*?^(?:```|~~~)$|^#{1,6} [^\n]+$|^\|[^\n]+$|^:::[^\n]*$|<[^>\n]+>"
    r"|!?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)]*\)(?:\{[^}]*\})?|`[^`\n]+`|\$[^$\n]+\$)",
    re.M | re.S,
)
# A word of the glossary in another sense.
OTHER_SENSE = re.compile(
    r"(for example|label studio|context manager|in question|the answer is yes|pay attention"
    r"|answers at once|filtered or split|window is wide)",
    re.I,
)
# Mostly verbs and everyday words: never linked by themselves.
AMBIGUOUS = ("head", "precision", "run", "slice", "step")


def callouts(text: str) -> str:
    "Quotations that begin with a bold word of CALLOUTS, as Quarto writes them."
    for words, kind in CALLOUTS.items():
        quoted = re.compile(rf"^> \*\*{words}\.\*\* ?((?:.*\n?)(?:^>.*\n?)*)", re.M)

        def callout(match: re.Match, words=words, kind=kind) -> str:
            body = re.sub(r"^> ?", "", match[1], flags=re.M).strip()
            return f'::: {{.callout-{kind} title="{words}"}}\n{body}\n:::\n'

        text = quoted.sub(callout, text)
    return text


def commands(text: str) -> str:
    "Fences of commands to type, not of what they print."
    return re.sub(rf"^```(?:text)?\n(?={SHELL})", "```bash\n", text, flags=re.M)


def pictures(text: str) -> str:
    "A picture on its own: what it shows is read aloud, not printed below it once more."
    return re.sub(r"^!\[([^\]\"]+)\]\(([^)]+)\)$", r'![](\2){fig-alt="\1"}', text, flags=re.M)


def badges(text: str) -> str:
    "A picture from another host becomes words."
    return BADGE.sub(r"[Open in Colab](\1)", text)


TABLE = re.compile(r"^\|.+\|\n\|[-:| ]+\|\n(?:\|.+\|(?:\n|\Z))+", re.M)


def tables(text: str) -> str:
    "Where a row is long, pandoc takes the widths of the columns from the dashes below the head."
    return TABLE.sub(lambda match: with_widths(match[0]), text)


def with_widths(table: str) -> str:
    "A table with dashes as its longest cells have letters, up to 50, and some for the margin."
    lines = table.split("\n")
    rows = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in lines if line]
    if len({len(row) for row in rows}) > 1:
        return table
    marks = [mark.strip() for mark in rows.pop(1)]
    widths = [min(50, max(map(letters, column))) + 4 for column in zip(*rows)]
    rule = [
        f"{':' * mark.startswith(':')}{'-' * width}{':' * mark.endswith(':')}"
        for mark, width in zip(marks, widths)
    ]
    lines[1] = f"|{'|'.join(rule)}|"
    return "\n".join(lines)


def letters(cell: str) -> int:
    "How long a cell is when it is read."
    return len(re.sub(r"!?\[([^\]]*)\]\([^)]*\)(?:\{[^}]*\})?|[`*]", r"\1", cell).strip())


@lru_cache
def terms(root: Path) -> dict[str, str]:
    "Each term of the glossary, in lower case -> its anchor; longer ones first."
    cells = json.loads((root / "nbs" / "glossary.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    found = {}
    for anchor, names in re.findall(r'<a id="(term-[\w-]+)"></a>\*\*([^*]+)\*\*', text):
        for name in re.split(r", | \(|\)", names.replace("`", "")):
            if name.strip() and name.strip() not in AMBIGUOUS:
                found.setdefault(name.strip().lower(), anchor)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


class Terms:
    "Links the first use of each term on one page."

    def __init__(self, root: Path, up: str):
        self.left = dict(terms(root))
        self.up = up
        self.pattern = self.compiled()

    def compiled(self) -> re.Pattern | None:
        if not self.left:
            return None
        words = "|".join(map(re.escape, self.left))
        return re.compile(rf"(?<![\w-])({words})(s?)(?![\w-])", re.I)

    def link(self, match: re.Match) -> str:
        anchor = self.left.get(match[1].lower())
        if anchor is None:  # another name of a term that this piece of text has linked already
            return match[0]
        self.left = {name: place for name, place in self.left.items() if place != anchor}
        return f"[{match[0]}]({self.up}glossary.ipynb#{anchor}){{.term}}"

    def markdown(self, text: str) -> str:
        parts = NO_PROSE.split(text)
        for i in range(0, len(parts), 2):
            parts[i] = self.prose(parts[i])
        return "".join(parts)

    def prose(self, text: str) -> str:
        "A piece of text without markup."
        pieces = OTHER_SENSE.split(text)
        for i in range(0, len(pieces), 2):
            if self.pattern is not None:
                pieces[i] = self.pattern.sub(self.link, pieces[i])
                self.pattern = self.compiled()
        return "".join(pieces)

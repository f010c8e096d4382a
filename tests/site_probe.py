"""Pages of the site for a browser, and what is measured on them (tests/test_site_pages.py).

Where the site was rendered by Quarto, its own pages are measured. Elsewhere pandoc, of which Quarto
is made, renders the processed pages into the same elements, with the rules of site.scss.
"""

import base64
import json
import re
import subprocess
from pathlib import Path

BASE = """
body { font: 17px/1.5 sans-serif; margin: 0; color: #343a40; background: #fff; }
body.quarto-dark { color: #fff; background: #222; }
main { max-width: 778px; margin: 0 auto; padding: 0 1.6rem; }
a { color: #2761e3; } .quarto-dark a { color: #00d4a4; }
pre { overflow-x: hidden; padding: 0.4rem 0.7rem; font-size: 0.875em; }
pre.sourceCode { background: #f1f3f4; } .quarto-dark pre.sourceCode { background: #373737; }
code { font-family: monospace; } img { max-width: 100%; }
:is(h1, h2, h3, h4) code { white-space: pre; } main table a { word-break: break-word; }
"""
# Light and dark are one page here, and two style sheets in Quarto.
PAGE = """<!doctype html>
<html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head>
<body class="quarto-light"><script>
if (matchMedia('(prefers-color-scheme: dark)').matches) document.body.className = 'quarto-dark';
</script><main class="content"><h1>{title}</h1>
{body}
</main></body></html>
"""
MEASURE = """() => {
  const cut = el => {
    const scrolls = ['auto', 'scroll'].includes(getComputedStyle(el).overflowX);
    return el.clientWidth > 0 && el.scrollWidth > el.clientWidth + 1 && !scrolls;
  };
  const name = el => (el.className || el.tagName) + ': ' + el.textContent.trim().slice(0, 60);
  // Words of tables and headings that stand on two lines; code and the texts of a report may.
  const broken = el => {
    const found = [], texts = document.createTreeWalker(el, NodeFilter.SHOW_TEXT);
    for (let text; (text = texts.nextNode());) {
      if (text.parentElement.closest('code, .qa-errors')) continue;
      for (const word of text.data.matchAll(/[^\\s\\-\\/.]+/g)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const tops = [...range.getClientRects()].map(box => Math.round(box.top));
        if (new Set(tops).size > 1) found.push(word[0]);
      }
    }
    return found;
  };
  const pres = [...document.querySelectorAll('main pre')];
  const ids = [...document.querySelectorAll('body [id]')].map(el => el.id);
  const loaded = 'script[src], link[rel=stylesheet], img[src], iframe[src], source[src]';
  return {
    looked: pres.length,
    cut: pres.filter(cut).map(name),
    broken: [...document.querySelectorAll('main :is(td, th, h1, h2, h3, h4)')].flatMap(broken),
    sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    ids: ids.length,
    twice: ids.filter((id, i) => ids.indexOf(id) != i),
    outside: [...document.querySelectorAll(loaded)]
      .map(el => el.getAttribute('src') || el.getAttribute('href'))
      .filter(url => /^(https?:)?\\/\\//.test(url)),
  };
}"""
# What a page without a fault has of each.
NOTHING = {"cut": [], "broken": [], "sideways": 0, "twice": [], "outside": []}
AXE = """async () => {
  const result = await axe.run(document, {
    runOnly: RULES, resultTypes: ['violations', 'passes'],
  });
  const told = node => node.target.join(' ') + ': ' + node.any.map(x => x.message).join(' ');
  return {
    passes: result.passes.reduce((sum, rule) => sum + rule.nodes.length, 0),
    violations: result.violations.map(v => [v.id, ...v.nodes.map(told)]),
  };
}"""
# What differs between light and dark is colours.
RULES = {
    "light": "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']",
    "dark": "{type: 'rule', values: ['color-contrast']}",
}


def axe(scheme: str) -> str:
    "What axe-core finds in a page, and how many elements it passed."
    return AXE.replace("RULES", RULES[scheme])


def axe_script() -> str:
    "The rules of accessibility as a script that runs in the page: axe-core, from PyPI."
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def style(root: Path) -> str:
    "The rules of site.scss, which are plain CSS."
    text = (root / "nbs" / "assets" / "site.scss").read_text(encoding="utf-8")
    return BASE + text.split("/*-- scss:rules --*/")[1]


def output_markdown(output: dict) -> str:
    "An output of a cell, in the elements that Quarto gives it."
    data = output.get("data", {})
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        assert base64.b64decode(picture)[:4] == b"\x89PNG"
        shown = f"![](data:image/png;base64,{picture}){{alt=FIGURE}}"
        return f"::: {{.cell-output .cell-output-display}}\n{shown}\n:::"
    text = "".join(output.get("text") or data.get("text/plain", ""))
    return f"::: {{.cell-output .cell-output-stdout}}\n~~~~~\n{text}\n~~~~~\n:::"


def cell_markdown(cell: dict) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "raw":
        return ""
    if cell["cell_type"] == "markdown":
        return source
    folded = "code-fold: true" in source
    summary = re.search(r'^#\| code-summary: "(.+)"$', source, re.M)
    classes = re.search(r"^#\| classes: (\w+)$", source, re.M)
    alt = re.search(r'^#\| fig-alt: "(.+)"$', source, re.M)
    code = "\n".join(line for line in source.splitlines() if not line.startswith("#|"))
    label = summary[1] if summary else "Code"
    parts = [f"::: {{.cell {'.' + classes[1] if classes else ''}}}"]
    parts += [f"<details class='code-fold'><summary>{label}</summary>"] * folded
    parts += [f"~~~~~ python\n{code}\n~~~~~"] + ["</details>"] * folded
    parts += [*map(output_markdown, cell.get("outputs", [])), ":::"]
    told = json.dumps(alt[1] if alt else "")
    return "\n\n".join(parts).replace("alt=FIGURE", f"alt={told}")


def render(page: Path, root: Path, pandoc: str) -> str:
    "A processed page as HTML."
    text = page.read_text(encoding="utf-8")
    title = re.search(r"^(?:---\\n|\W*)title: *(.+?)(?:\\n)?\"?,?$", text, re.M)[1]
    if page.suffix == ".ipynb":
        text = "\n\n".join(map(cell_markdown, json.loads(text)["cells"]))
    else:
        text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = text.replace('{fig-alt="', '{alt="')
    text = re.sub(r'^(::: \{\.callout-\w+) title="(.+)"\}$', r"\1}\n**\2**\n", text, flags=re.M)
    command = [
        pandoc,
        "-f",
        "markdown-implicit_figures",
        "-t",
        "html",
        "--section-divs",
        "--mathml",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    body = re.sub(r"\.(ipynb|qmd)(?=[#\"])", ".html", done.stdout)
    return PAGE.format(title=title, style=style(root), body=body)


# --- the search of the site: what Quarto writes into search.json, and how Fuse ranks it


def documents(name: str, title: str, text: str) -> list[dict]:
    "The entries of one page: its beginning, and each section of the second level."
    href = re.sub(r"\.\w+$", ".html", name)
    first, *rest = re.split(r"^## (.+)$", text, flags=re.M)
    found = [{"href": href, "title": title, "section": "", "text": first}]
    for heading, body in zip(rest[::2], rest[1::2]):
        place = re.search(r"\{#([\w.-]+)\}\s*$", heading)
        plain = re.sub(r"\s*\{[^}]*\}$", "", heading).replace("`", "")
        anchor = place[1] if place else re.sub(r"\W+", "-", plain.lower())
        found.append({"href": f"{href}#{anchor}", "title": title, "section": plain, "text": body})
    return found


def field_score(query: str, text: str) -> float | None:
    "How Fuse weighs a field that holds the words; None for one that does not."
    text = text.lower()
    if query not in text:
        return None
    return 2.2e-16 if text == query else 0.001


def rank(query: str, index: list[dict]) -> list[str]:
    "The addresses that the search of the site gives, best first (Fuse 6, Quarto's options)."
    found = []
    for place, entry in enumerate(index):
        score = 1.0
        for key, weight in (("title", 0.4), ("section", 0.4), ("text", 0.2)):
            one = field_score(query.lower(), entry[key])
            if one is not None:
                norm = round(len(entry[key].split()) ** -0.5, 3)
                score *= one ** (weight * norm)
        if score < 1:
            found.append((score, place, entry["href"]))
    return [href for *_, href in sorted(found)]

"""Draw the pictures of the site again: `python tools/pictures.py`. The numbers in
nbs/assets/path.svg are those of the starter.

path.svg: from text to answer, on the landing page.   card.png: what a link to the site shows
elsewhere.
Both have a light ground of their own, so that they read the same on a light and on a dark page.
"""

from html import escape
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "nbs" / "assets"
QUESTION, CONTEXT = (
    "When does the ferry leave?",
    "The ferry leaves Gråvik at nine. The cat waits on the quay.",
)
START, END = "#0072b2", "#d55e00"  # blue and vermilion: told apart by colour-blind eyes too
INK, SOFT, LINE, GROUND, MARK = "#1d2733", "#526072", "#c9d3df", "#f6f8fb", "#ffe08a"
MONO, SANS = (
    "ui-monospace, 'DejaVu Sans Mono', Consolas, Menlo, monospace",
    "system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif",
)


def read_windows() -> list[dict]:
    "The windows of the example, with the starter's logits."
    import torch

    from squadqa.inference import QuestionAnswerer
    from squadqa.windows import tokenize_windows

    qa = QuestionAnswerer()
    windows = tokenize_windows(qa.tokenizer, [QUESTION], [CONTEXT], max_length=20, stride=4)
    with torch.no_grad():
        out = qa.model(
            **{
                k: torch.tensor(windows[k])
                for k in ("input_ids", "attention_mask", "token_type_ids")
            }
        )
    return [
        {
            "tokens": qa.tokenizer.convert_ids_to_tokens(windows["input_ids"][i]),
            "parts": windows.sequence_ids(i),
            "offsets": windows["offset_mapping"][i],
            "start": out.start_logits[i].tolist(),
            "end": out.end_logits[i].tolist(),
        }
        for i in range(len(windows["input_ids"]))
    ]


def text(x, y, words, size=15, fill=INK, font=SANS, weight=400, anchor="start", width=None) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    if width:  # in pixels, whatever font the reader has
        place += f' textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs"'
    look = f'font-family="{font}" font-size="{size}" font-weight="{weight}" fill="{fill}"'
    return f'<text {place} {look} xml:space="preserve">{escape(words, quote=False)}</text>'


def box(x, y, width, height, fill="#ffffff", line=LINE, radius=7) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} rx="{radius}" fill="{fill}" stroke="{line}"/>'


def heading(x, y, number, name, words) -> str:
    "A step: the lesson's number, its name, and what happens."
    both = text(x + 58, y, "NAME", 17, weight=650).replace(
        "NAME",
        f'{name}<tspan dx="12" font-size="14.5" font-weight="400" fill="{SOFT}">'
        f"{escape(words, quote=False)}</tspan>",
    )
    return (
        box(x, y - 17, 46, 24, INK, INK, 12)
        + text(x + 23, y, number, 14, "#ffffff", weight=600, anchor="middle")
        + both
    )


def window_row(window: dict, x: float, y: float, best: int, ends: list[int]) -> str:
    "The tokens of a window as chips, and under each token of the context its two logits as bars."
    chips = [("[CLS]", None), ("the question", None), ("[SEP]", None)]
    chips += [(token, i) for i, token in enumerate(window["tokens"]) if window["parts"][i] == 1] + [
        ("[SEP]", None)
    ]
    drawn = []
    for token, i in chips:
        width = 8.6 * len(token) + 13
        shared = i is not None and window["offsets"][i][0] in ends
        drawn.append(
            box(
                x,
                y,
                width,
                27,
                MARK
                if i == best
                else "#dff1e3"
                if shared
                else "#ffffff"
                if i is not None
                else "#e6ebf1",
            )
        )
        drawn.append(
            text(
                x + width / 2,
                y + 18.5,
                token,
                14,
                INK if i is not None else SOFT,
                MONO,
                anchor="middle",
            )
        )
        if i is not None:
            for shift, logits, colour in ((-8, "start", START), (1, "end", END)):
                height = max(1.5, 4.4 * (window[logits][i] + 9.5))
                drawn.append(
                    f'<rect x="{x + width / 2 + shift:.1f}" y="{y + 86 - height:.1f}" width="7" '
                    f'height="{height:.1f}" rx="1.5" fill="{colour}"/>'
                )
        x += width + 4.5
    return "".join(drawn)


def path_svg(windows: list[dict]) -> str:
    "The whole picture. What it claims about the example is asserted here."
    best = max(
        (
            (w["start"][i] + w["end"][j], k, i, j)
            for k, w in enumerate(windows)
            for i in range(20)
            for j in range(i, 20)
            if w["parts"][i] == w["parts"][j] == 1
        )
    )
    _, k, i, j = best
    start, end = windows[k]["offsets"][i][0], windows[k]["offsets"][j][1]
    assert (k, i, start, end, CONTEXT[start:end]) == (0, j, 27, 31, "nine") and len(windows) == 2
    both = [
        o[0]
        for n, o in enumerate(windows[0]["offsets"])
        if windows[0]["parts"][n] == 1
        and o in [p for m, p in enumerate(windows[1]["offsets"]) if windows[1]["parts"][m] == 1]
    ]
    assert len(both) == 4
    legend = [
        box(720, 199, 12, 12, START, START, 2),
        text(738, 210, "start logit", 14, SOFT),
        box(828, 199, 12, 12, END, END, 2),
        text(846, 210, "end logit", 14, SOFT),
    ]
    parts = [
        box(0.5, 0.5, 959, 639, GROUND, LINE, 14),
        heading(24, 40, "1", "Data", "a question, and the context in which the answer stands"),
        box(24, 60, 300, 44),
        text(40, 88, QUESTION, 16),
        box(340, 60, 596, 44),
        f'<rect x="{356 + 8.43 * start - 1:.1f}" y="71" width="{8.43 * (end - start) + 2:.1f}" '
        f'height="23" rx="4" fill="{MARK}"/>',
        text(356, 88, CONTEXT, 14, font=MONO, width=8.43 * len(CONTEXT)),
        heading(
            24,
            146,
            "2",
            "Windows",
            "tokens, in windows that overlap and fit the model (green: in both)",
        ),
        heading(
            24, 210, "7", "Fine-tuning", "the model learns to say where an answer starts and ends"
        ),
        *legend,
        window_row(windows[0], 24, 232, i, both),
        window_row(windows[1], 24, 336, -1, both),
        heading(
            24,
            472,
            "5",
            "Post-processing",
            "the best pair of a start and an end over all windows, and its characters (lesson 4)",
        ),
        box(24, 492, 912, 46),
        text(
            40,
            521,
            f'"answer": "{CONTEXT[start:end]}",  "start": {start},  "end": {end}',
            16,
            font=MONO,
        ),
        heading(24, 584, "6", "Metrics", "compare with references"),
        text(82, 616, "exact match 1, F1 1", 15, font=MONO),
        heading(520, 584, "9", "Ask", "all of it in one call"),
        text(578, 616, "qa(question, context)", 15, font=MONO),
        heading(
            24,
            178,
            "3",
            "Labels",
            "for training: which of them is the first of the answer, and which the last",
        ),
    ]
    title = (
        "From text to answer: a question and a context become two windows of tokens, "
        "the model gives each token a start and an end logit, "
        f"and the best pair becomes the answer {CONTEXT[start:end]}, characters {start} to {end}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 640" role="img">'
        f"<title>{title}</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def draw_card(path: Path) -> None:
    "1200 by 630 pixels, the size that previews are made for."
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="#0b3d6e")
    place = dict(transform=figure.transFigure, color="white")
    figure.text(0.07, 0.76, "squadqa", fontsize=70, weight="bold", **place)
    figure.text(
        0.07,
        0.655,
        "Extractive question answering: a course that runs",
        fontsize=27,
        color="#cfe2f7",
    )
    figure.text(0.07, 0.44, QUESTION, fontsize=25, color="#cfe2f7")
    x = 0.07
    for words in ("The ferry leaves Gråvik at", "nine", ". The cat waits on the quay."):
        marked = words == "nine"
        shown = figure.text(
            x,
            0.3,
            words,
            fontsize=21,
            family="DejaVu Sans Mono",
            color="#1d2733" if marked else "white",
            bbox=dict(boxstyle="round,pad=0.22", fc=MARK, ec="none") if marked else None,
        )
        x = shown.get_window_extent().x1 / figure.bbox.width + 0.016 * (not marked)
    figure.text(
        0.07,
        0.1,
        "data · windows · labels · metrics · fine-tuning · answers",
        fontsize=21,
        color="#cfe2f7",
    )
    figure.savefig(path, facecolor=figure.get_facecolor(), metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "path.svg").write_text(path_svg(read_windows()), encoding="utf-8")
    draw_card(ASSETS / "card.png")
    print({p.name: p.stat().st_size for p in sorted(ASSETS.iterdir())})

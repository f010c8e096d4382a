"""Fetch what the tests on real data need: `python tools/real_data.py FOLDER`, then
SQUADQA_DATA=FOLDER.

SQuAD v1.1 comes from its authors' site and is checked by its SHA-256; the tokenizers come from the
Hub. The articles that the benchmarks train on are cut out of it. Tests of what is not fetched here
are skipped, saying so.
"""

import hashlib
import json
import sys
import urllib.request
from pathlib import Path

SITE = "https://rajpurkar.github.io/SQuAD-explorer/dataset"
FILES = {
    "train-v1.1.json": "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
    "dev-v1.1.json": "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
}
PART, QUESTIONS = "train-v1.1-part.json", 11_877
ARTICLES = """
    University_of_Notre_Dame Beyoncé Montana Genocide Antibiotics Frédéric_Chopin
    Sino-Tibetan_relations_during_the_Ming_dynasty IPod The_Legend_of_Zelda:_Twilight_Princess
    Spectre_(2015_film) 2008_Sichuan_earthquake New_York_City To_Kill_a_Mockingbird
    Solar_energy Tajikistan Anthropology Portugal Kanye_West Buddhism American_Idol Dog
    2008_Summer_Olympics_torch_relay Alfred_North_Whitehead
    Financial_crisis_of_2007%E2%80%9308 Saint_Barth%C3%A9lemy Genome Comprehensive_school
    Republic_of_the_Congo Prime_minister Institute_of_technology Wayback_Machine
    Dutch_Republic Symbiosis Canadian_Armed_Forces Cardinal_(Catholicism) Iranian_languages
    Lighting Separation_of_powers_under_the_United_States_Constitution Architecture
    Human_Development_Index Southern_Europe BBC_Television Arnold_Schwarzenegger Plymouth
"""
TOKENIZERS = {
    "bert-base-cased": "google-bert/bert-base-cased",
    "xlnet-base-cased": "xlnet/xlnet-base-cased",
}


def fetch(name: str, folder: Path) -> None:
    "One file of SQuAD; another content than the known one is refused."
    with urllib.request.urlopen(f"{SITE}/{name}", timeout=120) as answer:
        content = answer.read()
    found = hashlib.sha256(content).hexdigest()
    if found != FILES[name]:
        sys.exit(f"{name} has SHA-256 {found}, not {FILES[name]}: it is not used")
    (folder / name).write_bytes(content)


def cut_part(folder: Path) -> None:
    "The articles that the benchmarks train on, in their order."
    whole = json.loads((folder / "train-v1.1.json").read_text(encoding="utf-8"))
    wanted = set(ARTICLES.split())
    whole["data"] = [article for article in whole["data"] if article["title"] in wanted]
    questions = sum(len(p["qas"]) for article in whole["data"] for p in article["paragraphs"])
    if questions != QUESTIONS:
        return print(f"{PART} is left out: it would have {questions:,} questions", file=sys.stderr)
    (folder / PART).write_text(json.dumps(whole), encoding="utf-8")


def main(folder: Path) -> None:
    from transformers import AutoTokenizer

    (folder / "squad").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        fetch(name, folder / "squad")
    cut_part(folder / "squad")
    for name, address in TOKENIZERS.items():
        tokenizer = AutoTokenizer.from_pretrained(address, trust_remote_code=False)
        tokenizer.save_pretrained(folder / "tokenizers" / name)
    print(f"SQUADQA_DATA={folder.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

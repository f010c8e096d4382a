"""Fetch what the tests on real data need: `python tools/real_data.py FOLDER`, then
SQUADQA_DATA=FOLDER.

SQuAD v1.1 comes from its authors' site and is checked by its SHA-256; the tokenizers come from the
Hub at fixed revisions. Tests of what is not fetched here are skipped, saying so.
"""

import hashlib
import sys
import urllib.request
from pathlib import Path

SITE = "https://rajpurkar.github.io/SQuAD-explorer/dataset"
FILES = {
    "train-v1.1.json": "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
    "dev-v1.1.json": "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
}
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


def main(folder: Path) -> None:
    from transformers import AutoTokenizer

    (folder / "squad").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        fetch(name, folder / "squad")
    for name, address in TOKENIZERS.items():
        tokenizer = AutoTokenizer.from_pretrained(address, trust_remote_code=False)
        tokenizer.save_pretrained(folder / "tokenizers" / name)
    print(f"SQUADQA_DATA={folder.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

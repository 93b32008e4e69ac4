"""Writes the files of the Hugging Face tokenizer: tokenizer.json and what goes with it."""

import argparse
import json
from pathlib import Path
from typing import Any

import vocabulary as v

HERE = Path(__file__).resolve().parent
CONTEXT = 2048

# The names that a byte-level tokenizer gives to the two characters that it cannot show.
BYTE_LEVEL_NAMES = {"\n": "Ċ", " ": "Ġ"}


def build_vocabulary() -> dict[str, int]:
    """Token to id as tokenizer.json wants it: space and newline under their byte-level names."""
    return {BYTE_LEVEL_NAMES.get(token, token): number for token, number in v.IDS.items()}


def build_added_tokens() -> list[dict[str, Any]]:
    """The tokens that are found in text before it is cut into characters."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": v.IDS[token], "content": token, **flags, "special": token in v.SPECIAL}
        for token in (*v.SPECIAL, *v.MARKS)
    ]


def build_tokenizer() -> dict[str, Any]:
    """A byte-level BPE without a merge: each byte is a token or unknown."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": build_added_tokens(),
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": v.UNK,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": build_vocabulary(),
            "merges": [],
        },
    }


def build_special_tokens() -> dict[str, str]:
    """The names under which libraries look for the special tokens."""
    return {"bos_token": v.BOS, "eos_token": v.EOS, "pad_token": v.PAD, "unk_token": v.UNK}


def build_tokenizer_config(template: str) -> dict[str, Any]:
    """tokenizer_config.json. No token is added to a text: the chat template writes the first one itself."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **build_special_tokens(),
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": template,
    }


def build_generation_config() -> dict[str, Any]:
    """generation_config.json: greedy, so that the same question has the same answer."""
    return {
        "bos_token_id": v.BOS_ID,
        "eos_token_id": v.EOS_ID,
        "pad_token_id": v.PAD_ID,
        "do_sample": False,
    }


def write_tokenizer(folder: Path) -> None:
    """Write all files of the tokenizer into folder."""
    folder.mkdir(parents=True, exist_ok=True)
    template = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
    files: dict[str, Any] = {
        "tokenizer.json": build_tokenizer(),
        "tokenizer_config.json": build_tokenizer_config(template),
        "special_tokens_map.json": build_special_tokens(),
        "generation_config.json": build_generation_config(),
    }
    for name, content in files.items():
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def main() -> None:
    """Write the tokenizer into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "hf")
    write_tokenizer(parser.parse_args().out)


if __name__ == "__main__":
    main()

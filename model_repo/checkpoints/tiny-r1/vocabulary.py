"""The characters and special tokens of tiny-r1, and text to ids without any library."""

from collections.abc import Iterable

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
PAD = "<｜▁pad▁｜>"
UNK = "<unk>"
USER = "<｜User｜>"
ASSISTANT = "<｜Assistant｜>"
THINK = "<think>"
END_THINK = "</think>"

SPECIAL = (BOS, EOS, PAD, UNK)  # a decoder drops these
MARKS = (USER, ASSISTANT, THINK, END_THINK)  # and keeps these, as R1's tokenizer does
CHARACTERS = "\n" + "".join(chr(code) for code in range(32, 127))
TOKENS = (*SPECIAL, *MARKS, *CHARACTERS)
IDS = {token: number for number, token in enumerate(TOKENS)}

BOS_ID, EOS_ID, PAD_ID, UNK_ID = (IDS[token] for token in SPECIAL)


def encode(text: str) -> list[int]:
    """Plain text without special tokens, one id a byte; what has no token becomes UNK once a byte."""
    return [IDS.get(char, UNK_ID) for char in text.encode().decode("latin-1")]


def decode(ids: Iterable[int]) -> str:
    """The text of the ids; special tokens are dropped."""
    return "".join(TOKENS[number] for number in ids if number >= len(SPECIAL))

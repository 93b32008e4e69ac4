"""Packs chats of any length into rows of one length, so that no computing goes into padding."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from generator import Chat
from vocabulary import PAD_ID

IGNORED = -100  # the label that a loss skips
OPEN_ROWS = 32


@dataclass
class Row:
    """Chats back to back. documents tells which chat a token is of: attention stays inside one (0 = padding)."""

    width: int
    ids: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def has_room(self, chat: Chat) -> bool:
        """Whether the chat still fits."""
        return len(self.ids) + len(chat.ids) <= self.width

    def add(self, chat: Chat) -> None:
        """Append the chat; labels stand at the place of the token before, as the loss wants them."""
        number = self.documents[-1] + 1 if self.documents else 1
        self.ids += chat.ids
        self.documents += [number] * len(chat.ids)
        target = chat.ids[chat.start :]
        self.labels += [IGNORED] * (chat.start - 1) + target + [IGNORED]

    def close(self) -> "Row":
        """Fill the rest with padding."""
        rest = self.width - len(self.ids)
        self.ids += [PAD_ID] * rest
        self.documents += [0] * rest
        self.labels += [IGNORED] * rest
        return self


def pack_chats(chats: Iterator[Chat], width: int) -> Iterator[Row]:
    """Put each chat into the fullest open row that has room; when none has, the fullest is done."""
    rows: list[Row] = []
    for chat in chats:
        fitting = [row for row in rows if row.has_room(chat)]
        if not fitting and len(rows) >= OPEN_ROWS:
            fullest = max(rows, key=lambda row: len(row.ids))
            rows.remove(fullest)
            yield fullest.close()
        if not fitting:
            rows.append(Row(width))
            fitting = rows[-1:]
        max(fitting, key=lambda row: len(row.ids)).add(chat)

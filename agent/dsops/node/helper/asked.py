"""What one connection asks: the request, who asks, and the bytes that follow."""

from dataclasses import dataclass
from typing import IO, Any

from dsops.core.errors import DsopsError
from dsops.node.helper.peers import PEOPLE, Caller
from dsops.node.helper.request import Request
from dsops.node.helper.tell import Note
from dsops.node.store.pointers import check_release_id

Answer = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request with whoever asks, and the bytes that follow it."""

    request: Request
    caller: Caller
    stream: IO[bytes]

    def read(self, count: int) -> bytes:
        """Bytes that follow the request. Raises DsopsError when they stop coming."""
        try:
            return self.stream.read(count)
        except OSError as error:
            raise DsopsError(f"the push broke off ({error})", mend="push again: it goes on there") from error

    @property
    def is_person(self) -> bool:
        return self.caller.peer in PEOPLE

    @property
    def note(self) -> Note:
        """Who and why, as given; the agent acts for dsops."""
        who = self.request.find_text("who") or (self.caller.peer.value if self.is_person else "dsops")
        return Note(who, self.request.find_text("reason"))

    @property
    def release(self) -> str:
        return check_release_id(self.request.words.get("release"))

    def get_note(self) -> Note:
        """As `note`. Raises DsopsError: whoever changes something says why, and a person also who."""
        self.request.get_text("reason")
        if self.is_person and self.request.verb not in ("refuted", "halt"):
            self.request.get_text("who")
        return self.note

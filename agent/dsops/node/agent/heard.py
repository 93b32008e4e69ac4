"""What the other servers said of themselves, and when: what is old counts for nothing."""

from dsops.core.blame import Peer, count_serving
from dsops.node.agent.events import AskPeers, Effect, PeersTold


class Heard:
    """peers: as they last said. asked: how many there are. at: when they were heard (monotonic)."""

    def __init__(self) -> None:
        self.peers: tuple[Peer, ...] = ()
        self.asked = 0
        self.at = float("-inf")
        self._is_asking = False
        # Asks in a row that somebody did not answer.
        self._unanswered = 0

    def ask(self) -> list[Effect]:
        """Nothing while an answer is still awaited."""
        if self._is_asking:
            return []
        self._is_asking = True
        return [AskPeers()]

    def take(self, event: PeersTold) -> None:
        """The answer to what was asked."""
        self._is_asking = False
        self.peers, self.asked, self.at = event.peers, event.asked, event.now.ticks
        self._unanswered = self._unanswered + 1 if len(event.peers) < event.asked else 0

    @property
    def is_certain(self) -> bool:
        """Whether who did not answer counts as one that does not serve.

        Once, it may have been a pause of this server itself, which loses the answers of all.
        """
        return self._unanswered != 1

    def is_fresh(self, seconds: float, *, now: float) -> bool:
        """Whether they were heard at most so many seconds before now (monotonic)."""
        return now - self.at <= seconds

    def count_serving(self, seconds: float, *, now: float) -> int:
        """Those that serve, as they said at most so many seconds before now."""
        return count_serving(self.peers) if self.is_fresh(seconds, now=now) else 0

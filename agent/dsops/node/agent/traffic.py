"""Keeps traffic away while a wish for that holds, and tells the gateway again whenever it forgot."""

from dsops.node.agent.events import WHO, Admit, Eject, Now, TrafficTold
from dsops.node.sources.gateway import GatewayStatus

AGAIN_SECONDS = 0.5


class Traffic:
    """wish: why traffic should be away, None when it should not; since: when that, or what runs, last changed."""

    def __init__(self) -> None:
        self.wish: str | None = None
        self.since = 0.0
        self._gateway: GatewayStatus | None = None
        self._is_ejected = False
        self._is_telling = False
        self._told_at = float("-inf")
        self._was_heard = False

    @property
    def is_drained(self) -> bool:
        """By an operator: then the agent only looks."""
        return self._gateway is not None and self._gateway.drained is not None

    def hear(self, gateway: GatewayStatus | None) -> str | None:
        """What the gateway says now; the reason to adopt when an earlier life of this agent took the traffic away."""
        self._gateway = gateway
        if gateway is None or gateway.reason:
            return None
        is_first, self._was_heard = not self._was_heard, True
        self._is_ejected = gateway.ejected is not None
        is_adopted = is_first and gateway.ejected is not None and gateway.ejected.who == WHO and self.wish is None
        return gateway.ejected.reason if is_adopted and gateway.ejected else None

    def want_away(self, reason: str, *, now: Now) -> bool:
        """Whether that is new. Where there is no gateway there is no traffic to take."""
        if self.wish is not None or self._gateway is None:
            return False
        self.wish, self.since = reason, now.ticks
        self._told_at = float("-inf")
        return True

    def want_back(self) -> None:
        """From now on traffic may come."""
        self.wish = None

    def move(self, now: Now) -> list[Eject | Admit]:
        """What the gateway must be told now."""
        gateway = self._gateway
        if gateway is None or self._is_telling or now.ticks - self._told_at < AGAIN_SECONDS:
            return []
        if self.wish is not None and not self._is_ejected:
            return [self._tell(Eject(self.wish), now)]
        is_mine = gateway.ejected is not None and gateway.ejected.who == WHO
        if self.wish is None and self._is_ejected and is_mine:
            return [self._tell(Admit(), now)]
        return []

    def take(self, event: TrafficTold) -> bool:
        """The gateway's answer; whether it took the traffic away."""
        self._is_telling = False
        if event.says:
            return False
        self._is_ejected = isinstance(event.effect, Eject)
        return self._is_ejected

    def forget(self) -> None:
        """The gateway was restarted: what it was told is gone with it."""
        self._is_ejected = False

    def _tell(self, effect: Eject | Admit, now: Now) -> Eject | Admit:
        self._is_telling, self._told_at = True, now.ticks
        return effect

"""All checks of this node as the agent tells them: what they saw last, and what it judges itself."""

from dsops.core.checklist import Checklist, CheckSeen, Item
from dsops.core.maintenance import Maintenance
from dsops.core.status import Finding, NodeStatus, Verdict
from dsops.node.agent.loop import Loop

AGENT = "agent"


def find_checklist(loop: Loop) -> Checklist | None:
    """None before the first whole tick."""
    status, checkup = loop.status, loop.checkup
    if status is None:
        return None
    seen = checkup.board.render(checkup.ledger, checkup.rules, wall=status.observed_at, maintenance=status.maintenance)
    own = tuple(_make_item(one, status.maintenance) for one in status.findings if one.code not in checkup.rules.rules)
    return Checklist(
        node=status.node,
        boot_id=status.boot_id,
        at=status.observed_at,
        checks=(*seen, _tell_own(status, own)),
        normal=checkup.board.find_normal(),
        baseline=loop.baseline,
        maintenance=status.maintenance,
    )


def _tell_own(status: NodeStatus, items: tuple[Item, ...]) -> CheckSeen:
    """What the agent says of slots, gateway, store and itself; where all is well it names what it judges."""
    codes = tuple(dict.fromkeys(item.code for item in items))
    well = Item("node.condition", "node", Verdict.OK, reason="nothing else is wrong")
    return CheckSeen(AGENT, codes or (well.code,), status.observed_at, items=items or (well,))


def _make_item(finding: Finding, maintenance: Maintenance | None) -> Item:
    is_bad = finding.status is Verdict.BAD
    return Item(
        finding.code,
        finding.entity,
        finding.status,
        reason=finding.reason,
        mend=finding.mend,
        measure=finding.measure,
        blame=finding.blame,
        since=finding.since,
        streak=int(is_bad),
        held=maintenance.describe() if maintenance and is_bad and maintenance.covers(finding.code) else "",
    )

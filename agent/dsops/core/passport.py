"""A passport: what a release showed when a node proved it; signed, beside the release, not in its id."""

import json
from dataclasses import asdict, dataclass

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.status import NodeStatus

FORMAT = 1


@dataclass(frozen=True)
class Passport:
    """One proof on one node. made_at: Unix seconds. accepted of `prompts` golden answers were right.

    gpus: the names of the node's GPUs, empty on a CPU node. tokens_per_second: None when nobody measured it.
    """

    release: str
    made_at: float
    node: str
    gpus: tuple[str, ...]
    engine: str
    accepted: int
    prompts: int
    load_seconds: float
    tokens_per_second: float | None
    format: int = FORMAT

    def render(self) -> bytes:
        """Canonical JSON, so that equal content has equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def parse_passport(content: bytes, *, where: str) -> Passport:
    """Reads a passport. Raises DsopsError, naming the key, when it is none that this version knows."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"not JSON ({error})", where=where) from error
    passport = decode(Passport, data, where=where)
    if passport.format != FORMAT:
        raise DsopsError(f"passport format {passport.format} is not known", where=where, mend="use a newer dsops")
    return passport


def make_passport(status: NodeStatus, *, engine: str) -> Passport:
    """The passport of what the node proved last. Raises DsopsError when it has not proven anything."""
    proof = status.proof
    if proof is None:
        mend = "a node proves a release when it is activated there"
        raise DsopsError(f"{status.node} has no proof of a release", where=status.node, mend=mend)
    return Passport(
        release=proof.release,
        made_at=proof.at,
        node=status.node,
        gpus=proof.gpus,
        engine=engine,
        accepted=proof.accepted,
        prompts=proof.prompts,
        load_seconds=proof.load_seconds,
        tokens_per_second=proof.tokens_per_second,
    )

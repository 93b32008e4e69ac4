"""The helper's verbs: who may ask each, with which words, and what does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.node.helper import certificate, change, content, disk_rate, listing, papers, rehash, tiers
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.audit import tell_end, tell_traffic
from dsops.node.helper.desk import Desk
from dsops.node.helper.peers import EVERYONE, PEOPLE, Peer

Do = Callable[[Desk, Asked], Answer]


@dataclass(frozen=True)
class Verb:
    """may: who may ask. words: all that may be said. audited: it goes to the audit log. reads: it changes nothing."""

    do: Do
    may: frozenset[Peer]
    words: tuple[str, ...] = ()
    audited: bool = False
    reads: bool = False


def answer(desk: Desk, asked: Asked) -> Answer:
    """Does what was asked, and tells the audit. Raises DsopsError: unknown verb or word, not allowed, or refused."""
    verb = VERBS.get(asked.request.verb)
    try:
        said = _answer(desk, asked)
    except DsopsError as error:
        if verb and (verb.audited or (asked.caller.peer not in verb.may and not verb.reads)):
            desk.scribe.tell_refused(asked, error)
        raise
    if verb and verb.audited and asked.is_person:
        desk.scribe.tell_done(asked)
    return said


def _answer(desk: Desk, asked: Asked) -> Answer:
    request = asked.request
    verb = VERBS.get(request.verb)
    if verb is None:
        raise DsopsError(f"the helper has no verb {request.verb!r}", mend=suggest(request.verb, list(VERBS)))
    if asked.caller.peer not in verb.may:
        raise DsopsError(f"{asked.caller.peer} may not ask for {request.verb}", mend="ask as root or dsops")
    for word in request.words:
        if word not in verb.words:
            raise DsopsError(f"{request.verb} takes no {word!r}", mend=suggest(word, verb.words))
    said = verb.do(desk, asked)
    if verb.audited and asked.is_person:
        note = asked.note
        about = [str(request.words[key]) for key in ("release", "unit", "to", "share") if request.words.get(key)]
        about += ["without a passport"] if request.words.get("without_passport") else []
        about += ["without a certificate"] if request.words.get("uncertified") else []
        desk.audit(f"dsops: {' '.join([request.verb, *about])} by {note.who}: {note.reason}")
    return {"ok": True} | said


FLEET = ("epoch", "holder")
# The first two are how an older control host brings one.
PASSPORTS = ("passport", "passport_signature", "passports")
HARDWARE = ("hardware", "without_passport", "gpus", "uncertified")
VERBS: Mapping[str, Verb] = {
    "state": Verb(change.tell_state, EVERYONE, reads=True),
    "environment": Verb(change.tell_environment, EVERYONE, reads=True),
    "have": Verb(content.tell_missing, PEOPLE, ("sums",), reads=True),
    "receive": Verb(content.receive, PEOPLE, ("sha256", "size", "offset")),
    "admit": Verb(content.admit, PEOPLE, ("manifest", "signature", *PASSPORTS), audited=True),
    "adopt_tree": Verb(content.adopt, PEOPLE, ("path",), audited=True),
    "remove": Verb(content.remove, PEOPLE, ("release", "who", "reason"), audited=True),
    "cool": Verb(tiers.cool, PEOPLE, ("release", "who", "reason", "keep_hot"), audited=True),
    "heat": Verb(tiers.heat, PEOPLE, ("release", "who", "reason"), audited=True),
    "list": Verb(listing.tell_releases, EVERYONE, reads=True),
    "activate": Verb(
        change.activate, PEOPLE, ("release", "who", "reason", "share", "alone", *HARDWARE, *FLEET), audited=True
    ),
    "widen": Verb(change.widen, PEOPLE, ("release", "share", "who", "reason", *FLEET), audited=True),
    "certify": Verb(certificate.take_certificate, PEOPLE, ("text", "signature", "who", "reason"), audited=True),
    "freeze": Verb(papers.freeze, PEOPLE, ("numbers", "force", "who", "reason"), audited=True),
    "maintain": Verb(papers.maintain, PEOPLE, ("seconds", "checks", "end", "who", "reason"), audited=True),
    "read_disk": Verb(disk_rate.read_disk, PEOPLE, ("mib",), reads=True),
    "proven": Verb(change.proven, EVERYONE, ("release", "began", "evidence")),
    "refuted": Verb(change.refuted, EVERYONE, ("release", "began", "reason", "lasting")),
    "rehash": Verb(rehash.rehash, frozenset({Peer.ROOT, Peer.AGENT})),
    "age": Verb(change.age, frozenset({Peer.ROOT, Peer.AGENT})),
    "rollback": Verb(
        change.roll_back, EVERYONE, ("who", "reason", "own", "lasting", "to", "leaves", *FLEET), audited=True
    ),
    "restart": Verb(change.restart, EVERYONE, ("unit", "reason", "who", "afresh"), audited=True),
    "recover": Verb(change.recover, EVERYONE),
    "unmark": Verb(change.unmark, PEOPLE, ("release", "who", "reason"), audited=True),
    "confirm": Verb(change.confirm, PEOPLE, ("release", "who", "reason"), audited=True),
    "halt": Verb(change.halt, EVERYONE, ("reason", "who")),
    "clear": Verb(change.clear, PEOPLE, ("who", "reason"), audited=True),
    "adopt": Verb(change.adopt_epoch, PEOPLE, (*FLEET, "who", "reason"), audited=True),
    "audit": Verb(lambda desk, asked: tell_end(desk.scribe), EVERYONE, reads=True),  # noqa: ARG005
    # The gateway did it already.
    "drain": Verb(lambda desk, asked: tell_traffic(desk.scribe, asked), PEOPLE, ("who", "reason")),
    "undrain": Verb(lambda desk, asked: tell_traffic(desk.scribe, asked), PEOPLE, ("who", "reason")),
}

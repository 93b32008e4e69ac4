"""The helper's verbs: who may ask each, with which words, and what does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.node.helper import change, content, listing, tiers
from dsops.node.helper.asked import Answer, Asked
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
    """Does what was asked. Raises DsopsError: unknown verb or word, not allowed, or refused."""
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
        about = [str(request.words[key]) for key in ("release", "unit", "to") if request.words.get(key)]
        desk.audit(f"dsops: {' '.join([request.verb, *about])} by {note.who}: {note.reason}")
    return {"ok": True} | said


FLEET = ("epoch", "holder")
VERBS: Mapping[str, Verb] = {
    "state": Verb(change.tell_state, EVERYONE, reads=True),
    "have": Verb(content.tell_missing, PEOPLE, ("sums",), reads=True),
    "receive": Verb(content.receive, PEOPLE, ("sha256", "size", "offset")),
    "admit": Verb(content.admit, PEOPLE, ("manifest", "signature", "passport", "passport_signature"), audited=True),
    "adopt_tree": Verb(content.adopt, PEOPLE, ("path",), audited=True),
    "remove": Verb(content.remove, PEOPLE, ("release", "who", "reason"), audited=True),
    "cool": Verb(tiers.cool, PEOPLE, ("release", "who", "reason", "keep_hot"), audited=True),
    "heat": Verb(tiers.heat, PEOPLE, ("release", "who", "reason"), audited=True),
    "list": Verb(listing.tell_releases, EVERYONE, reads=True),
    "activate": Verb(change.activate, PEOPLE, ("release", "who", "reason", *FLEET), audited=True),
    "proven": Verb(change.proven, EVERYONE, ("release", "evidence")),
    "refuted": Verb(change.refuted, EVERYONE, ("release", "reason", "lasting")),
    "age": Verb(change.age, frozenset({Peer.ROOT, Peer.AGENT})),
    "rollback": Verb(change.roll_back, EVERYONE, ("who", "reason", "own", "lasting", "to", *FLEET), audited=True),
    "restart": Verb(change.restart, EVERYONE, ("unit", "reason", "who"), audited=True),
    "recover": Verb(change.recover, EVERYONE),
    "unmark": Verb(change.unmark, PEOPLE, ("release", "who", "reason"), audited=True),
    "confirm": Verb(change.confirm, PEOPLE, ("release", "who", "reason"), audited=True),
    "halt": Verb(change.halt, EVERYONE, ("reason", "who")),
    "clear": Verb(change.clear, PEOPLE, ("who", "reason"), audited=True),
    "adopt": Verb(change.adopt_epoch, PEOPLE, (*FLEET, "who", "reason"), audited=True),
}

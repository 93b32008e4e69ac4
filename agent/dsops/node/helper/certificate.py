"""The helper's part in the node's certificate: takes one in that is good, and lets no release begin without it.

What it lies in is one file of the certificate's text with its signature, so that the two never differ.
"""

import json
from collections.abc import Sequence

from dsops.core.accept.certificate import Certificate, Demand, check_usable, parse_certificate
from dsops.core.errors import DsopsError
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.helper.request import Request
from dsops.node.helper.signature import Paper, check_signature

FILE = "state/certificate.json"
PAPER = Paper("certificate", "certificate", "dsops accept")


def take_certificate(desk: Desk, asked: Asked) -> Answer:
    """Proves it and keeps it in the place of the last one. Raises DsopsError when it is not good, or not for here."""
    asked.get_note()
    text, signature = asked.request.get_text("text"), asked.request.get_text("signature")
    found = _check(desk, text, signature)
    if found.measured.machine != desk.machine:
        what = f"a certificate of {found.node} (machine {found.measured.machine[:12]}), not of this machine"
        raise DsopsError(what, where="certificate", mend="bring each node its own: `dsops accept` does")
    if (held := _find(desk)) and held.made_at > found.made_at:
        mend = "measure again: `dsops accept`; look at the clocks"
        raise DsopsError("a newer certificate lies here", where="certificate", mend=mend)
    desk.keep(FILE, json.dumps({"text": text, "signature": signature}))
    return {"verdict": found.verdict.value, "forced": found.forced}


def tell_certificate(desk: Desk) -> Answer:
    """For the list: whether one is demanded, and then why the one that is here does not count, "" when it does.

    Which GPUs the node has now is not looked at.
    """
    demands = desk.config.certificate is Demand.REQUIRED
    if not demands:
        return {"demanded": False, "lack": "", "made_at": None}
    try:
        found = get_certificate(desk)
        check_usable(found, uuids=found.uuids, machine=desk.machine, now=desk.now(), days=desk.config.certificate_days)
    except DsopsError as error:
        return {"demanded": demands, "lack": error.what, "made_at": None}
    return {"demanded": demands, "lack": "", "made_at": found.made_at}


def check_certified(desk: Desk, release: str, request: Request) -> None:
    """Raises DsopsError when the node may not take a release in: it has no certificate, or one of other GPUs.

    The word `gpus` says which it has now; `uncertified`, that a person lets the release in all the same.
    """
    if desk.config.certificate is not Demand.REQUIRED or request.get_flag("uncertified"):
        return
    uuids: Sequence[str] | None = None
    if request.words.get("gpus") is not None:
        uuids = [str(one) for one in request.get_list("gpus")]
    force = f'`dsops release activate {release} NODE --uncertified --reason "..."` lets it in all the same'
    try:
        found = get_certificate(desk)
        check_usable(found, uuids=uuids, machine=desk.machine, now=desk.now(), days=desk.config.certificate_days)
    except DsopsError as error:
        what = f"this node may not serve yet: {error.what}"
        raise DsopsError(what, where=error.where or "certificate", mend=f"{error.mend}; {force}") from error


def get_certificate(desk: Desk) -> Certificate:
    """The one that lies here, its signature proven. Raises DsopsError."""
    path = desk.config.root / FILE
    try:
        held = json.loads(path.read_bytes())
        text, signature = held["text"], held["signature"]
        if not isinstance(text, str) or not isinstance(signature, str):
            raise TypeError("no texts")
    except FileNotFoundError as error:
        raise DsopsError("it has no certificate", where="certificate", mend="`dsops accept NODE` makes one") from error
    except OSError as error:
        raise DsopsError(f"its certificate cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, LookupError, TypeError) as error:
        mend = "`dsops accept NODE` makes it again"
        raise DsopsError("its certificate is spoilt", where=str(path), mend=mend) from error
    return _check(desk, text, signature)


def _find(desk: Desk) -> Certificate | None:
    """The one that lies here; None where there is none that counts."""
    try:
        return get_certificate(desk)
    except DsopsError:
        return None


def _check(desk: Desk, text: str, signature: str) -> Certificate:
    content = text.encode()
    # Nobody reads what nobody allowed has signed.
    check_signature(content, signature.encode(), config=desk.config, run=desk.run, paper=PAPER)
    return parse_certificate(content, where="certificate")

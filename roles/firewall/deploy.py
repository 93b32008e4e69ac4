"""Firewall: lets in what the roles listen on, for whom they listen, and operators; drops the rest."""

from pathlib import Path

from dsops.core.errors import DsopsError
from pyinfra import host, inventory
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.firewall.defaults import Firewall
from roles.firewall.load import UNIT, UNIT_FILE, Peers, SessionFact, is_loaded, no_rules, rules
from roles.firewall.proof import find_cut_off, find_silenced
from roles.firewall.rules import Session, build, find_control
from roles.ops.files import config_file
from roles.ops.machine import skip
from roles.ops.packages import install_packages
from roles.ops.site import settings
from roles.ops.units import unit

HERE = Path(__file__).parent


@deploy("firewall")
def firewall() -> None:
    """Closes what nobody said is open. A rule set that would cut off an operator is refused before any change."""
    said = settings(Firewall)
    if not said.firewall:
        skip("firewall", "firewall is not set in the inventory")
        no_rules(name="firewall: off")
        return
    content = get_rules(said)
    install_packages(role="firewall")
    rules(name="firewall: rules", content=content, _timeout=120)
    service = (HERE / "templates" / UNIT).read_text()
    config_file(name="firewall: unit", path=UNIT_FILE, content=service)
    unit(name="firewall: running", unit_name=UNIT)


def get_rules(said: Firewall) -> str:
    """The server's rule set, proven. Raises DeployError: this comes before the first operation of the run."""
    session = host.get_fact(SessionFact)
    try:
        content = build(host, list(inventory), said, session)
        check_rules(content, said, session)
    except DsopsError as error:
        raise DeployError(f"{error}\n  mend: {error.mend}") from error
    return content


def check_rules(content: str, said: Firewall, session: Session | None) -> None:
    """Raises DsopsError when an operator, or anybody who speaks with the server now, would be cut off."""
    control = find_control(said, session=session, where=host.name)
    port = session.port if session else int(host.data.get("ssh_port", 22))
    problems = find_cut_off(content, session=session, control=control, ssh_port=port)
    mend = "add it to firewall_control; nothing was changed"
    if not problems and not is_loaded(content):
        problems = find_silenced(content, host.get_fact(Peers))
        mend = "add it to firewall_extra (or firewall_control, firewall_addresses), or end it; nothing was changed"
    if problems:
        raise DsopsError("\n  ".join(["the firewall is not loaded", *problems]), where=host.name, mend=mend)

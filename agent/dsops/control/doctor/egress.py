"""May it reach outside? Judged by its routes and resolvers; tried only at an address that the operator gave."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from dsops.control.doctor.finding import Finding, ok, problem, skipped
from dsops.core.errors import DsopsError

PORT = 443
SECONDS = 3


@dataclass(frozen=True)
class Target:
    """Where one TCP connection is tried. An address, never a name: asking for a name is an attempt by itself."""

    address: str
    port: int = PORT

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def parse_target(text: str) -> Target:
    """`192.0.2.7`, `192.0.2.7:80`, `[2001:db8::1]:80`. Raises DsopsError on anything else."""
    host, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    try:
        address, number = ipaddress.ip_address(host.strip("[]")), int(port or PORT)
    except ValueError as error:
        mend = "give an IP address, and a port if you like: --probe-egress 192.0.2.7:443"
        raise DsopsError(f"{text!r} is no address ({error})", where="--probe-egress", mend=mend) from error
    return Target(str(address), number)


def render_probe(target: Target) -> str:
    """One connection attempt in the probe's own shell, nothing sent over it. bash, for sh has no TCP."""
    connect = f"exec 3<>/dev/tcp/{target.address}/{target.port}"
    return (
        f"said=$(timeout -k 1 {SECONDS} bash -c '{connect}' 2>&1); code=$?\n"
        'said=$(printf %s "$said" | tail -n 1)\n'
        'case $code in 0) put egress open ;; 124|137) put egress silence ;; *) put egress "${said##*: }" ;; esac\n'
    )


def judge_egress(where: str, *, routes: Sequence[str], resolvers: Sequence[str]) -> list[Finding]:
    """Never tried by itself: on a site without internet an attempt is itself an alarm."""
    if not routes:
        return [ok("way out", where, "no default route: it cannot leave its own networks")]
    names = f", and asks {', '.join(resolvers)} for names" if resolvers else ", and has no resolver"
    what = (
        f"has a default route ({', '.join(routes)}){names}; "
        "whether it leads outside is not tried, because an attempt is itself an alarm on an air-gapped site"
    )
    return [skipped("way out", where, what)]


def judge_probe(where: str, said: str, *, target: Target) -> list[Finding]:
    """said: open, silence, or the kernel's word for why not."""
    if said == "open":
        what = f"reached {target}: it is not cut off from there"
        mend = "close it in the site's firewall, or take its default route away; it needs nothing from outside"
        return [problem("egress", where, what, mend=mend)]
    if not said:
        return [skipped("egress", where, f"{target} was not tried there")]
    if said == "Connection refused":
        return [ok("egress", where, f"{target} refused it: a firewall on the way, or that machine itself")]
    why = f"no answer in {SECONDS} s" if said == "silence" else said.lower()
    return [ok("egress", where, f"{target} cannot be reached: {why}")]

"""What the firewall role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Firewall:
    """Who may reach a server. Networks are texts: `10.0.0.0/8`, `192.0.2.7`, `fd00::/8`."""

    # Off where the inventory is silent: a filter that came with an upgrade would close what dsops knows nothing of.
    firewall: bool = False
    # Where operators come from. Empty: only the address that this very session comes from.
    firewall_control: tuple[str, ...] = ()
    # Who may use the service at the balancer. Empty: everybody.
    firewall_clients: tuple[str, ...] = ()
    # What else is open: `9100/tcp`, `9100/tcp from 10.0.0.0/8`, `5000-5010/udp from gpu, 192.0.2.7`.
    firewall_extra: tuple[str, ...] = ()
    # Further addresses from which this server speaks to the others, beside the one at which they reach it.
    firewall_addresses: tuple[str, ...] = ()

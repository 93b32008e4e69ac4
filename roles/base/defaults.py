"""What the base role, and every role, takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Base:
    """Keys of the whole fleet. Paths of `*_file`, `*_key` and `bundle_*` lie on the control host."""

    # The folder that `dsops bundle build` made, and who may have signed it.
    bundle_path: str
    bundle_allowed_signers: str
    bundle_namespace: str = "dsops-bundle@v1"
    # Public key of the operators' SSH door (`dsops drain` and its like); the private one is dsops_ssh_key.
    dsops_public_key_file: str = ""
    dsops_ssh_key: str = ""
    # The account of that door, where it has another name.
    dsops_ssh_user: str = "dsops"
    # How `dsops ask` reaches the service: the balancer's URL, its name in the certificate where the URL has an
    # address that is not in it, the CA that vouches for it, and a file that holds a key.
    dsops_endpoint: str = ""
    dsops_server_name: str = ""
    dsops_ca_file: str = ""
    dsops_api_key_file: str = ""
    # The address at which other servers reach this one; its ssh_hostname when empty.
    dsops_address: str = ""
    # What the server is for, where its group's name does not say it: lb, gpu or mon.
    dsops_role: str = ""
    # The site's time servers. Empty: the clock is left alone, and `dsops doctor` says so.
    base_ntp_servers: tuple[str, ...] = ()
    # Open files that one process of ours may have.
    base_nofile: int = 65536

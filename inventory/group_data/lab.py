"""The lab's keys, files and bundle: `dsops lab up`, `dsops secrets` and `dsops bundle build --lab` make them."""

ssh_user = "root"
ssh_key = "/var/lib/dsops-lab/ssh/id_ed25519"
ssh_known_hosts_file = "/var/lib/dsops-lab/ssh/known_hosts"

bundle_path = "/var/lib/dsops-lab/bundle/current"
bundle_allowed_signers = "/var/lib/dsops-lab/secrets/allowed_signers"
# Good for the lab only: no site lists this namespace among its signers.
bundle_namespace = "dsops-bundle-lab@v1"

dsops_endpoint = "https://10.99.0.10"
dsops_ca_file = "/var/lib/dsops-lab/secrets/ca.pem"
dsops_api_key_file = "/var/lib/dsops-lab/secrets/operators-api-key"
dsops_ssh_key = "/var/lib/dsops-lab/secrets/dsops_ed25519"
dsops_public_key_file = "/var/lib/dsops-lab/secrets/dsops_ed25519.pub"

gateway_api_keys_file = "/var/lib/dsops-lab/secrets/api-keys"
nginx_tls_cert_file = "/var/lib/dsops-lab/secrets/lb-cert.pem"
nginx_tls_key_file = "/var/lib/dsops-lab/secrets/lb-key.pem"
monitoring_users_file = "/var/lib/dsops-lab/secrets/monitoring-users"
monitoring_password_file = "/var/lib/dsops-lab/secrets/monitoring-password"
monitoring_tls_cert_file = "/var/lib/dsops-lab/secrets/mon-cert.pem"
monitoring_tls_key_file = "/var/lib/dsops-lab/secrets/mon-key.pem"

# This machine on the lab's bridge: operators, tests and `dsops` come from there.
firewall = True
firewall_control = ["10.99.0.1"]

# A container has no kernel of its own: `dsops lab fault NODE xid 79` writes into a file of the same lines.
agent_kernel_log = "/run/dsops-lab-gpus/kmsg"

# The GPUs are simulated: nothing can be burnt in, so no certificate would say anything, and none is asked for.
accept_burn_in = False
store_certificate = "off"
accept_storage_mib = 64
# Its disks are files on one that all share.
accept_floors = {"storage_read": 1}

# The tests restart agents; an operator's site has 120.
agent_hold_seconds = 15.0

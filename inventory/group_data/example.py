"""What the servers of example share. Paths lie on the control host, the machine on which `dsops` runs.

Nothing in this file is secret, so it may live in git; the files that it names may not. They lie in
/etc/dsops-site/example, for the operators alone (`install -d -m 700 /etc/dsops-site/example`). `dsops secrets` makes
those that are marked (made). Every key and its default: roles/*/defaults.py. `dsops doctor` finds misspelt ones.
"""

# How pyinfra logs in: as root, with this key.
ssh_user = "root"
ssh_key = "/etc/dsops-site/example/deploy_ed25519"
# Host keys are pinned: a server that shows another key, or none that is known, is refused.
# Compare each with the console or BMC before it goes in; `dsops init` and `dsops doctor` say how.
ssh_known_hosts_file = "/etc/dsops-site/example/known_hosts"
ssh_strict_host_key_checking = "yes"
ssh_look_for_keys = False
ssh_allow_agent = False
# A cut link ends after 20 s instead of hanging the run.
ssh_paramiko_connect_kwargs = {"channel_timeout": 20, "banner_timeout": 20, "auth_timeout": 20}

# What crossed the air gap, and who may have signed it. Get the signers from whoever signs, never out of the bundle.
bundle_path = "/srv/dsops/bundle/current"
bundle_allowed_signers = "/etc/dsops-site/example/allowed_signers"

# The site's own time servers; there is no way to those of the internet.
base_ntp_servers = ["192.0.2.1"]

# No release comes in on a server that was not accepted: `dsops accept` measures each and signs what it found.
store_certificate = "required"

# The firewall lets operators in from here, and the roles' own ports for whom they are. Without `firewall` it is off.
firewall = True
firewall_control = ["192.0.2.0/24"]

# How clients and `dsops ask` reach the service, the CA that vouches for it, and a key to ask with. (made)
dsops_endpoint = "https://192.0.2.10"
dsops_ca_file = "/etc/dsops-site/example/ca.pem"
dsops_api_key_file = "/etc/dsops-site/example/operators-api-key"
# The operators' door for `dsops drain`, `undrain` and `logs`: a key that can do nothing else. (made)
dsops_ssh_key = "/etc/dsops-site/example/dsops_ed25519"
dsops_public_key_file = "/etc/dsops-site/example/dsops_ed25519.pub"

# Gateway: salted hashes of the API keys; `dsops key add` adds one. (made)
gateway_api_keys_file = "/etc/dsops-site/example/api-keys"

# Balancer: certificate with its chain, and its key. Put your own CA's here before `dsops secrets`, or have them (made).
nginx_tls_cert_file = "/etc/dsops-site/example/lb-cert.pem"
nginx_tls_key_file = "/etc/dsops-site/example/lb-key.pem"

# Monitoring: its users with bcrypt hashes, the password of `operator` and `prometheus`, certificate and key. (made)
monitoring_users_file = "/etc/dsops-site/example/monitoring-users"
monitoring_password_file = "/etc/dsops-site/example/monitoring-password"
# Its certificate must also be for `localhost`: Prometheus and Alertmanager talk to each other there.
monitoring_tls_cert_file = "/etc/dsops-site/example/mon-cert.pem"
monitoring_tls_key_file = "/etc/dsops-site/example/mon-key.pem"

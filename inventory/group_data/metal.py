"""The lab's keys, files and bundle, and what these two machines have of disks: see inventory/group_data/lab.py."""

ssh_user = "root"
ssh_key = "/var/lib/dsops-lab/ssh/id_ed25519"
ssh_known_hosts_file = "/var/lib/dsops-lab/ssh/known_hosts"

bundle_path = "/var/lib/dsops-lab/bundle/current"
bundle_allowed_signers = "/var/lib/dsops-lab/secrets/allowed_signers"
bundle_namespace = "dsops-bundle-lab@v1"

dsops_endpoint = "https://10.99.0.32"
dsops_server_name = "10.99.0.10"  # the lab's certificate was made for lb1
dsops_ca_file = "/var/lib/dsops-lab/secrets/ca.pem"
dsops_api_key_file = "/var/lib/dsops-lab/secrets/operators-api-key"
dsops_ssh_key = "/var/lib/dsops-lab/secrets/dsops_ed25519"
dsops_public_key_file = "/var/lib/dsops-lab/secrets/dsops_ed25519.pub"

gateway_api_keys_file = "/var/lib/dsops-lab/secrets/api-keys"
nginx_tls_cert_file = "/var/lib/dsops-lab/secrets/lb-cert.pem"
nginx_tls_key_file = "/var/lib/dsops-lab/secrets/lb-key.pem"

agent_hold_seconds = 15.0
# Without KVM a model loads ten times slower than on a machine.
triton_load_seconds = 300

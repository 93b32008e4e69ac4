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
monitoring_users_file = "/var/lib/dsops-lab/secrets/monitoring-users"
monitoring_password_file = "/var/lib/dsops-lab/secrets/monitoring-password"
monitoring_tls_cert_file = "/var/lib/dsops-lab/secrets/metal-mon-cert.pem"
monitoring_tls_key_file = "/var/lib/dsops-lab/secrets/metal-mon-key.pem"

# What only a real kernel can show: tiers on real disks, swap, a filter, and an option that is live after a reboot.
storage_hot = "nvme"
storage_cold = "hdd"
swap_gb = 1
swap_disk_reserve_gb = 1
firewall = True
firewall_control = ["10.99.0.1"]
system_kernel_options = ["iommu=pt"]

"""Templates: nothing missing is rendered silently, and what they render is read by the programs they are for."""

import dataclasses
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import UndefinedError

from roles.agent.defaults import Agent
from roles.container.defaults import Container
from roles.gateway.defaults import Gateway
from roles.helper.defaults import Helper
from roles.mig.defaults import Mig
from roles.monitoring.defaults import Monitoring
from roles.nginx.defaults import Nginx
from roles.ops.files import render
from roles.triton.defaults import Triton

ROLES = Path(__file__).parents[2] / "roles"
NODES = [("gpu1", "10.0.0.11"), ("gpu2", "10.0.0.12")]
GATEWAY = Gateway(gateway_api_keys_file="/x")
NGINX = Nginx(nginx_tls_cert_file="/x", nginx_tls_key_file="/x", nginx_server_name="llm.example")
MONITORING = Monitoring("/x", "/x", "/x", "/x")
TARGETS = {
    job: [(name, f"{address}:9410") for name, address in NODES] for job in ("agent", "gateway", "slot", "balancer")
}
VALUES: dict[str, dict[str, Any]] = {
    "base/templates/apt.conf.j2": {},
    "base/templates/limits.conf.j2": {"nofile": 65536},
    "base/templates/chrony.conf.j2": {"servers": ("ntp1.example", "10.0.0.1")},
    "storage/templates/tier.mount.j2": {"tier": "hot", "place": "/var/lib/dsops"},
    "storage/templates/storage.rules.j2": {"hdd_kb": 4096, "flash_kb": 1024},
    "storage/templates/fstrim.conf.j2": {"places": ["/var/lib/dsops"]},
    "swap/templates/file.swap.j2": {"path": "/swapfile"},
    "swap/templates/sysctl.conf.j2": {"swappiness": 10},
    "system/templates/sysctl.conf.j2": {"hugepages": 0, "more": {"net.core.somaxconn": "4096"}},
    "system/templates/upgrades.conf.j2": {"held": ("^linux-image",), "ours": ("chrony",)},
    "system/templates/tuning.conf.j2": {"thp": "madvise", "governor": "performance"},
    "system/templates/grub.cfg.j2": {"options": ("iommu=pt",), "given": "# options so far: iommu=pt"},
    "system/templates/journald.conf.j2": {"gb": 4, "days": 30},
    "driver/templates/dsops-driver-gate.service.j2": {"limit": 2},
    "rdma/templates/dsops-rxe.service.j2": {"interface": "eth0", "device": "sys-subsystem-net-devices-eth0.device"},
    "rdma/templates/triton.conf.j2": {"digest": "0123456789ab"},
    "mig/templates/mig.toml.j2": {"said": Mig(mig_layouts=("7x1g.10gb",), mig_slots=("a: 0/0",))},
    "container/templates/image.conf.j2": {"said": Container(), "root": "/var/lib/dsops/images/0123/root"},
    "agent/templates/agent.toml.j2": {
        "node": "gpu1",
        "role": "gpu",
        "units": ("a.service", "b.service"),
        "said": Agent(),
        "peers": [("gpu2", "10.0.0.12:9410")],
    },
    "agent/templates/dsops-agent.service.j2": {"gpu": True, "kmsg": True},
    "helper/templates/store.toml.j2": {"said": Helper(), "purpose": "dsops-release@v1"},
    "helper/templates/accept.toml.j2": {"said": Helper()},
    "helper/templates/dsops-helper.service.j2": {
        "cold": "/var/lib/dsops-cold",
        "cold_unit": "var-lib-dsops\\x2dcold.mount",
        "cold_parent": "/var/lib",
    },
    "triton/templates/triton@.service.j2": {"said": Triton(triton_memory_max="64G")},
    "gateway/templates/gateway.toml.j2": {"said": GATEWAY, "keys": "/etc/dsops/api-keys"},
    "gateway/templates/dsops-gateway.service.j2": {},
    "nginx/templates/nginx.conf.j2": {"said": NGINX, "nodes": NODES, "port": 8080},
    "nginx/templates/balancer.toml.j2": {"said": NGINX, "nodes": NODES, "port": 8080, "admin": 9411},
    "monitoring/templates/prometheus.yml.j2": {"said": MONITORING, "targets": TARGETS},
    "monitoring/templates/web.yml.j2": {"users": [("operator", "$2b$10$abc")]},
    "monitoring/templates/prometheus.j2": {"said": MONITORING},
    "monitoring/templates/prometheus-alertmanager.j2": {"said": MONITORING},
}


def read(name: str, **more: Any) -> str:
    return render(ROLES / name, **(VALUES[name] | more))


def find_program(name: str) -> str:
    """Its path; the test is skipped, with the reason, where it is not installed."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed here; the role runs it on the server before the file takes effect")
    return found


def test_no_template_is_left_out_here() -> None:
    found = {path.relative_to(ROLES).as_posix() for path in ROLES.glob("*/templates/*.j2")}
    assert found == VALUES.keys()


@pytest.mark.parametrize("name", [name for name, values in VALUES.items() if values])
def test_a_missing_value_is_an_error_and_never_an_empty_text(name: str) -> None:
    for key in VALUES[name]:
        if key not in ("gpu", "kmsg"):
            with pytest.raises(UndefinedError, match=key):
                render(ROLES / name, **{k: v for k, v in VALUES[name].items() if k != key})
    assert read(name)


@pytest.mark.parametrize("name", [name for name in VALUES if name.endswith(".toml.j2")])
def test_toml_is_toml(name: str) -> None:
    assert tomllib.loads(read(name))


@pytest.mark.parametrize("role", ["gpu", "lb", "mon", "none"])
def test_the_agents_configuration_passes_its_own_check(tmp_path: Path, role: str) -> None:
    from dsops.node.agent.config import get_config

    path = tmp_path / "agent.toml"
    path.write_text(read("agent/templates/agent.toml.j2", role=role, units=()))
    assert get_config(path)


def test_the_stores_configuration_passes_its_own_check_and_says_what_the_brain_assumes(tmp_path: Path) -> None:
    from dsops.core.state import Policy
    from dsops.node.store.config import read_store_config

    path = tmp_path / "store.toml"
    path.write_text(read("helper/templates/store.toml.j2"))
    assert read_store_config(path).policy == Policy()


def test_with_a_cold_tier_the_store_and_the_helpers_unit_name_it_and_without_one_neither_does(tmp_path: Path) -> None:
    from dsops.node.store.config import read_store_config

    path = tmp_path / "store.toml"
    said = Helper(store_cold="/var/lib/dsops-cold", store_hot_is_raid0=True, store_hot_reserve=0.2)
    path.write_text(read("helper/templates/store.toml.j2", said=said))
    config = read_store_config(path)
    assert (config.cold, config.hot_reserve, config.hot_is_raid0) == ("/var/lib/dsops-cold", 0.2, True)
    # An older dsops, to which an upgrade may go back, knows none of these keys.
    assert not re.search("cold|hot_", read("helper/templates/store.toml.j2"))
    unit = read("helper/templates/dsops-helper.service.j2")
    assert "After=var-lib-dsops\\x2dcold.mount\n" in unit
    # A dead cold disk must not keep the helper down: systemd touches whatever these two name.
    assert "RequiresMountsFor=/var/lib/dsops\n" in unit
    assert not re.search("Paths=.*dsops-cold", unit)
    assert "cold" not in read("helper/templates/dsops-helper.service.j2", cold="")


def test_a_site_that_demands_certificates_says_so_and_an_older_dsops_reads_what_another_writes(tmp_path: Path) -> None:
    from dsops.core.accept.certificate import Demand
    from dsops.node.accept.config import AcceptConfig, read_accept_config
    from dsops.node.store.config import read_store_config

    path, accept = tmp_path / "store.toml", tmp_path / "accept.toml"
    said = Helper(store_certificate="required", store_certificate_days=400, accept_burn_in=False, accept_python="/x")
    path.write_text(read("helper/templates/store.toml.j2", said=said))
    config = read_store_config(path)
    assert (config.certificate, config.certificate_days) == (Demand.REQUIRED, 400)
    assert "certificate" not in read("helper/templates/store.toml.j2")
    accept.write_text(read("helper/templates/accept.toml.j2", said=said))
    assert read_accept_config(accept) == AcceptConfig(burn_in=False, python="/x")
    accept.write_text(read("helper/templates/accept.toml.j2"))
    assert read_accept_config(accept) == AcceptConfig() == read_accept_config(tmp_path / "none")


def test_the_balancers_configuration_passes_its_own_check(tmp_path: Path) -> None:
    from dsops.node.balancer.config import get_config

    path = tmp_path / "balancer.toml"
    path.write_text(read("nginx/templates/balancer.toml.j2"))
    assert [node.name for node in get_config(path).nodes] == ["gpu1", "gpu2"]


def test_prometheus_scrapes_every_target_with_its_nodes_name() -> None:
    text = read("monitoring/templates/prometheus.yml.j2")
    jobs = {"agent", "gateway", "balancer", "slot_a", "slot_b", "prometheus", "alertmanager"}
    assert set(re.findall(r"- job_name: (\S+)", text)) == jobs
    assert text.count('labels: {node: "gpu2"') == 5
    assert "\t" not in text


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    nginx = find_program("nginx")
    text = read("nginx/templates/nginx.conf.j2")
    text = text.replace("/run/dsops-lb/inner", str(tmp_path)).replace("/etc/nginx/tls", str(tmp_path))
    for old in ("/run/nginx.pid", "/var/log/nginx/error.log", "/var/log/nginx/access.log"):
        text = text.replace(old, f"{tmp_path}/{Path(old).name}")
    text = text.replace("user www-data;\n", "").replace(" 443 ", " 127.0.0.1:18443 ")
    (tmp_path / "nginx.conf").write_text(text)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    words += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(words, capture_output=True, check=True, timeout=30)
    done = subprocess.run(
        [nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_node_has_the_others_behind_it_and_no_client_chooses_its_lane() -> None:
    text = read("nginx/templates/nginx.conf.j2")
    first = text.split("upstream at_gpu1 {")[1].split("}")[0].split("\n")
    assert [line.strip() for line in first if line.strip()] == [
        "server 10.0.0.11:8080 max_fails=0;",
        "server 10.0.0.12:8080 max_fails=0 backup;",
    ]
    assert "proxy_set_header X-Dsops-Lane $dsops_lane;" in text
    assert text.count("listen unix:/run/dsops-lb/inner/") == 2
    assert text.count("{") == text.count("}")


def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    promtool = find_program("promtool")
    (tmp_path / "p.yml").write_text(read("monitoring/templates/prometheus.yml.j2"))
    for words in (
        ["config", "--syntax-only", str(tmp_path / "p.yml")],
        ["rules", str(ROLES / "monitoring/templates/rules.yml")],
    ):
        done = subprocess.run([promtool, "check", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


UNITS = {
    "triton@a.service": "triton/templates/triton@.service.j2",
    "dsops-gateway.service": "gateway/templates/dsops-gateway.service.j2",
    "dsops-agent.service": "agent/templates/dsops-agent.service.j2",
    "dsops-balancer.service": "nginx/templates/dsops-balancer.service",
}


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line_of_our_units(tmp_path: Path, unit: str) -> None:
    analyze = find_program("systemd-analyze")
    text = read(UNITS[unit]) if UNITS[unit] in VALUES else (ROLES / UNITS[unit]).read_text()
    # The programs are the servers'; what matters here is that no line is unknown or ignored.
    lines = ["ExecStart=/bin/true" if line.startswith("ExecStart=") else line for line in text.splitlines()]
    (tmp_path / unit).write_text("\n".join(lines) + "\n")
    words = [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or unit in line]
    assert not ours


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_of_ours_is_locked_in(unit: str) -> None:
    text = read(UNITS[unit]) if UNITS[unit] in VALUES else (ROLES / UNITS[unit]).read_text()
    # The agent of a gpu server opens the kernel's log.
    held = "CAP_SYSLOG" if unit == "dsops-agent.service" else ""
    wanted = (
        "NoNewPrivileges=yes",
        f"CapabilityBoundingSet={held}\n",
        "ProtectSystem=strict",
        "SystemCallFilter=@system-service",
    )
    assert not [line for line in wanted if line not in text]
    assert "User=root" not in text


@pytest.mark.parametrize(("gpu", "kmsg", "most"), [(True, True, 18), (True, False, 15), (False, False, 15)])
def test_the_agents_exposure_stays_small(tmp_path: Path, gpu: bool, kmsg: bool, most: int) -> None:
    """most: tenths of systemd's own figure; the kernel's log costs three."""
    analyze = find_program("systemd-analyze")
    path = tmp_path / "dsops-agent.service"
    path.write_text(read("agent/templates/dsops-agent.service.j2", gpu=gpu, kmsg=kmsg))
    words = [analyze, "security", "--offline=true", f"--threshold={most}", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_defaults_of_every_role_are_plain_data() -> None:
    kinds = (Agent, Gateway, Monitoring, Nginx, Triton)
    assert all(dataclasses.fields(kind) and kind.__doc__ for kind in kinds)

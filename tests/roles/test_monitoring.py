"""What Prometheus looks at."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from roles.agent.defaults import Agent
from roles.monitoring import deploy
from roles.ops import site


@dataclass
class Inventory(list[Any]):
    """Servers, some of them in groups."""

    groups: dict[str, list[Any]] = field(default_factory=dict)


def make_server(name: str, address: str) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, data=SimpleNamespace(get=lambda key, other=None: {"ssh_hostname": address}.get(key, other))
    )


def test_a_server_that_is_in_no_group_is_scraped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, mon = make_server("metal1", "10.0.0.1"), make_server("metal2", "10.0.0.2")
    inventory = Inventory(groups={"mon": [mon]})
    inventory.extend([alone, mon])
    monkeypatch.setattr(site, "inventory", inventory)
    monkeypatch.setattr(deploy, "settings", lambda kind: kind())
    port = Agent.dsops_agent_port
    assert deploy.read_targets()["agent"] == [("metal1", f"10.0.0.1:{port}"), ("metal2", f"10.0.0.2:{port}")]
    assert deploy.read_targets()["gateway"] == []

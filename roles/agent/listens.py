"""Where the agent listens."""

from roles.agent.defaults import Agent
from roles.ops.listens import Listen

LISTENS = (
    Listen("dsops_agent_port", Agent.dsops_agent_port, "agent", on="all", reached_from=("mon", "control")),
    # A node that fails asks whether its peers do too.
    Listen("dsops_agent_port", Agent.dsops_agent_port, "agent", on="gpu", reached_from=("gpu",)),
)

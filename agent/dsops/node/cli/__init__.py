"""The local door `dsops node ...`: what an operator may do on one server, at its console or over SSH."""

from dsops.node.cli import audit, history, moves, release
from dsops.node.cli.main import UNITS, Door, check_unit, node, parse_asked

__all__ = ["UNITS", "Door", "check_unit", "node", "parse_asked"]

for command in (*release.COMMANDS, *moves.COMMANDS, *history.COMMANDS, *audit.COMMANDS):
    node.add_command(command)

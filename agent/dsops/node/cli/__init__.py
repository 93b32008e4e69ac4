"""The local door `dsops node ...`: what an operator may do on one server, at its console or over SSH."""

from dsops.node.cli import accept, audit, history, moves, papers, release
from dsops.node.cli.main import UNITS, Door, check_unit, node, parse_asked

__all__ = ["UNITS", "Door", "check_unit", "node", "parse_asked"]

for family in (accept, release, moves, papers, history, audit):
    for command in family.COMMANDS:
        node.add_command(command)

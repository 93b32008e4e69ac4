"""The command `dsops`: finds each verb's file when it is asked for, and turns expected errors into words."""

import importlib
import sys
from collections.abc import Mapping
from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem

from dsops import __version__
from dsops.core.errors import DsopsError

VERBS: Mapping[str, tuple[str, str]] = {
    "init": ("dsops.control.cli.init", "Write an inventory to edit."),
    "secrets": ("dsops.control.cli.secrets", "Make the keys and certificates that an inventory names."),
    "key": ("dsops.control.cli.key", "Add and list API keys."),
    "bundle": ("dsops.control.cli.bundle", "Build and verify what crosses the air gap."),
    "doctor": ("dsops.control.cli.doctor", "Say all that stands in a deploy's way, and what checks say."),
    "plan": ("dsops.control.cli.plan", "Say what a deploy would change, as a change ticket."),
    "apply": ("dsops.control.cli.apply", "Do what a plan says, in waves."),
    "network": ("dsops.control.cli.network", "Say which network card each GPU is to use, and why."),
    "drift": ("dsops.control.cli.drift", "Say what differs now from what the site should be."),
    "deploy": ("dsops.control.cli.deploy", "Provision the servers of an inventory."),
    "verify": ("dsops.control.cli.verify", "Check every server against what its roles promise."),
    "accept": ("dsops.control.cli.accept", "Measure gpu servers; certify those that are sound."),
    "baseline": ("dsops.control.cli.baseline", "Show or freeze what is normal on the gpu servers."),
    "release": ("dsops.control.cli.release", "Build, bring, activate and look at releases."),
    "rollout": ("dsops.control.cli.rollout", "Bring a release over the fleet, step by step."),
    "rollback": ("dsops.control.cli.rollback", "Go back to the release that was good."),
    "status": ("dsops.control.cli.status", "Show the fleet."),
    "why": ("dsops.control.cli.why", "Tell a node's last decision as a story."),
    "history": ("dsops.control.cli.history", "Show what happened to releases on the nodes."),
    "ask": ("dsops.control.cli.ask", "Ask the model a question through the balancer."),
    "drain": ("dsops.control.cli.drain", "Take a node out of traffic."),
    "maintenance": ("dsops.control.cli.maintenance", "Let dsops only look at a node for a while."),
    "undrain": ("dsops.control.cli.undrain", "Put a node back into traffic."),
    "logs": ("dsops.control.cli.logs", "Show a node's journal."),
    "audit": ("dsops.control.cli.audit", "Verify and show who did what and why, here and on the nodes."),
    "epoch": ("dsops.control.cli.epoch", "Show or mend this control host's place in line."),
    "lock": ("dsops.control.cli.lock", "Show or break the lock of a rollout."),
    "backup": ("dsops.control.cli.backup", "Save what this control host must not forget."),
    "restore": ("dsops.control.cli.restore", "Bring a control host's state back."),
    "lab": ("dsops.lab.cli", "Rehearsal servers on this machine."),
    "node": ("dsops.node.cli", "The local door, on a server."),
    "completion": ("dsops.control.cli.completion", "Print a shell's completion script."),
}


class Verbs(click.Group):
    """Imports a verb only when it is used: `dsops status` must not wait for what `dsops bundle` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        try:
            module = importlib.import_module(VERBS[cmd_name][0])
        except ModuleNotFoundError as error:
            if str(error.name).startswith("dsops"):
                raise
            raise DsopsError(
                f"`dsops {cmd_name}` needs {error.name}, which is not installed here",
                mend="it runs on the control host: pip install 'dsops[control]'",
            ) from error
        command: click.Command = getattr(module, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs from the table: completing imports none of them, and works where an extra is missing."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, (_, text) in VERBS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own, but an unknown verb gets its neighbour."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(
                f"no such verb '{args[0]}'" + (f", did you mean {near[0]}?" if near else "; `dsops -h` lists them")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dsops")
def cli() -> None:
    """From bare GPU servers without internet to a dependable DeepSeek service, and keeps it there."""


def main() -> None:
    """Runs the command. Expected errors become what, where and mend; bugs keep their traceback."""
    try:
        code = cli.main(prog_name="dsops", standalone_mode=False)
    except DsopsError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        if error.mend:
            click.echo(f"  mend: {error.mend}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)

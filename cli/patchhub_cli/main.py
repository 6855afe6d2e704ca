"""The ``patchhub`` program: global options, commands found by file name, and the exit status.

A command's file is imported when that command runs, and the engine when an operation needs it, so
that ``patchhub --help`` and the questions about a registry answer at once.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from patchhub.errors import PatchHubError
from patchhub.oserrors import refused
from patchhub_cli.output import Reply, emit, emit_error, envelope
from patchhub_cli.session import Session

COMMANDS = Path(__file__).parent / "commands"
SECTIONS = (
    ("Start", ("demo", "init", "base")),
    ("Edit", ("methods", "train", "locate", "edit", "add", "check")),
    ("Change a model", ("plan", "apply", "revert", "stack", "ask")),
    ("Compare methods", ("bench", "advise")),
    ("Look", ("status", "list", "find", "show", "log", "diff", "identify", "verify")),
    ("This machine", ("doctor", "gc", "completion")),
)


class Verb(click.Command):
    """A command that returns a `Reply` and takes the global options after its name, too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += _global_options(hidden=True)

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, print its reply, return the exit status."""
        session = ctx.ensure_object(Session)
        session.command = ctx.command_path.partition(" ")[2]
        session.reply = reply = super().invoke(ctx)
        return reply.exit if session.silent else emit(session, reply)


def verb(name: str, *examples: str) -> Callable[[Callable[..., Reply]], Verb]:
    """Decorator: the function becomes the command ``name`` and gets the session first.

    Args:
        name: Of the command.
        *examples: Lines of a shell, shown at the end of its help.
    """
    shown = "\n".join(["\b\nExample:", *(f"  {line}" for line in examples)])

    def wrap(function: Callable[..., Reply]) -> Verb:
        epilog = shown if examples else None
        return click.command(name, cls=Verb, epilog=epilog)(click.pass_obj(function))

    return wrap


class Program(click.Group):
    """The command group; see the module."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += _global_options(hidden=False)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the files in ``commands/``."""
        return sorted(p.stem for p in COMMANDS.glob("*.py") if not p.stem.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command that is asked for."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"patchhub_cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a slip of the finger."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            from difflib import get_close_matches

            near = get_close_matches(args[0], known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Sections of commands with the first line of each file, none of them imported."""
        known = self.list_commands(ctx)
        rest = tuple(n for n in known if all(n not in names for _, names in SECTIONS))
        for title, names in (*SECTIONS, ("More", rest)):
            rows = [(name, summary(name)) for name in names if name in known]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; every way to fail becomes a message and an exit status (design: section 7)."""
        argv = list(sys.argv[1:] if args is None else args)
        session: Session = extra.setdefault("obj", Session(json="--json" in argv))

        def run() -> object:
            return super(Program, self).main(
                argv,
                prog_name or self.name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )

        status = _guarded(run, session)
        if standalone_mode:
            sys.exit(status)
        return status


def summary(name: str) -> str:
    """First line of a command's file: its one-sentence description."""
    with (COMMANDS / f"{name}.py").open(encoding="utf-8") as file:
        return file.readline().strip().strip('"').rstrip(".")


def _guarded(run: Callable[[], object], session: Session) -> int:
    try:
        status = run()
    except PatchHubError as error:
        return emit_error(session, error)
    except OSError as error:
        return emit_error(session, refused(error))
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            session.command = error.ctx.command_path.partition(" ")[2]
        if session.json:
            fault = {"code": "usage", "message": error.format_message()}
            click.echo(envelope(session, data=None, error=fault, exit=error.exit_code))
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        if session.json:
            fault = {"code": "interrupted", "message": "interrupted"}
            click.echo(envelope(session, data=None, error=fault, exit=130))
        else:
            click.echo("interrupted", err=True)
        return 130
    except Exception as error:
        import traceback

        traceback.print_exc()
        if session.json:
            fault = {"code": "bug", "message": f"{type(error).__name__}: {error}"}
            click.echo(envelope(session, data=None, error=fault, exit=1))
        return 1
    return status if isinstance(status, int) else 0


def _global_options(*, hidden: bool) -> list[click.Parameter]:
    """The options before the command's name; all but -C may follow it, too (hidden in help)."""

    def option(*names: str, **settings: Any) -> click.Option:
        # a name of its own, so that no command's argument collides with it
        own = f"global_{names[-1].strip('-')}"
        return click.Option(
            [own, *names], callback=_keep, expose_value=False, hidden=hidden, **settings
        )

    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    start = option(
        "-C", type=folder, is_eager=True, metavar="DIR", help="Work as if started there."
    )
    shared: list[click.Parameter] = [
        option(
            "--registry",
            type=folder,
            metavar="DIR",
            envvar=None if hidden else "PATCHHUB_REGISTRY",
            help="The registry; else the one around the working directory.",
        ),
        option("--json", is_flag=True, help="One JSON envelope on stdout."),
        option("-q", "--quiet", is_flag=True, help="No notes and no progress."),
    ]
    return shared if hidden else [start, *shared]


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value in (None, False):
        return
    session = ctx.ensure_object(Session)
    match parameter.name:
        case "global_C":
            session.start = value.resolve()
            ctx.with_resource(contextlib.chdir(value))
        case "global_registry":
            session.registry_dir = value
        case "global_json":
            session.json = True
        case "global_quiet":
            session.quiet = True


@click.command(
    "patchhub",
    cls=Program,
    epilog="Start with: patchhub demo",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="patchhub", message="patchhub %(version)s")
def main() -> None:
    """Git for model edits.

    Compute an edit of a language model once, check it, keep it as a patch in a registry, apply it,
    revert it exactly.
    """

"""Run commands one after another and show each as a user would type it."""

from __future__ import annotations

import shlex

import click

from patchhub_cli.main import main
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


class Tour:
    """A guided run of the program in this process, on the registry of the working directory.

    Args:
        session: Of the command that gives the tour; its options hold for every stop.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def tell(self, text: str) -> None:
        """A line of explanation."""
        self._session.say(click.style(f"\n# {text}", dim=True))

    def show(self, *command: str) -> None:
        """A command of the shell, as a line."""
        self._session.say(click.style(f"$ {shlex.join(command)}", bold=True))

    def run(self, *arguments: str) -> Reply:
        """Show ``patchhub ARGUMENTS``, run it, show what it prints.

        Raises:
            PatchHubError: Whatever the command raises, or its verdict of no.
        """
        self.show("patchhub", *arguments)
        inner = Session(json=self._session.json, quiet=self._session.quiet, silent=True)
        # said, so that PATCHHUB_REGISTRY cannot lead the tour into a registry of the user's
        here = ("--registry", ".")
        with main.make_context("patchhub", [*here, *arguments], obj=inner) as context:
            main.invoke(context)
        self._session.warnings += inner.warnings
        reply = inner.reply or Reply(None)
        if reply.text:
            self._session.say(reply.text)
        if reply.error is not None:
            raise reply.error
        return reply

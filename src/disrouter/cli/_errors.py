"""How the program ends: known mistakes as two lines, Ctrl-C as one, a closed pipe as none.

Exit codes: 0 done · 1 the run failed · 2 called wrong · 130 stopped by the user · 141 nobody reads the output.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from disrouter.errors import DisrouterError, InterruptedRunError, MissingExtraError, RunError, UsageError

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "Program", "exit_code", "messages"]

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""

PIPE_CLOSED = 141
"""128 + SIGPIPE."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""How a place that takes no more says so."""

_EXTRA_OF = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors"), "local"),
    **dict.fromkeys(("pyarrow", "matplotlib", "scipy", "sklearn"), "eval"),
    **dict.fromkeys(("aiohttp", "orjson", "prometheus_client", "sqlalchemy", "starlette", "uvicorn"), "gateway"),
    **dict.fromkeys(("accelerate", "datasets", "peft", "trl"), "train"),
    "simpy": "plan",
}
"""Which extra brings which package."""


def exit_code(error: DisrouterError) -> int:
    """Return 2 for a call that was wrong, 130 for a run stopped by the user, 1 for a run that failed."""
    if isinstance(error, InterruptedRunError):
        return INTERRUPTED
    return 2 if isinstance(error, UsageError) else 1


def messages(error: DisrouterError) -> list[str]:
    """Return the lines that tell the user what happened and what to do next.

    A run that the user stopped is no error: what is kept and how to go on stand in one line.
    """
    if isinstance(error, InterruptedRunError):
        return [f"{error.message} {error.hint[0].upper()}{error.hint[1:]}." if error.hint else error.message]
    return [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]


class Program(click.Group):
    """A group of commands, listed in the order they were added, that ends the way the project's errors say."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which one would use them."""
        return list(self.commands)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run the program on ``args`` (default: those of the process) and exit.

        Raises:
            SystemExit: Always.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            sys.exit(self._run(arguments, extra))
        except BrokenPipeError:
            _abandon_output()  # the reader left (`| head`)
            sys.exit(PIPE_CLOSED)

    def _run(self, arguments: list[str], extra: dict[str, Any]) -> int:
        context: click.Context | None = None
        try:
            context = self.make_context("disrouter", arguments, **_context_settings(extra))
            with context:
                self.invoke(context)
            sys.stdout.flush()
            return 0
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            _say(error.format_message())
            return 2
        except click.ClickException as error:
            _say(*_click_messages(error))
            return 2
        except (DisrouterError, KeyboardInterrupt, click.Abort, ModuleNotFoundError, OSError) as error:
            known = _known(error)
            if known is None:
                raise
            if context is not None and context.params.get("traceback"):
                traceback.print_exc()
            if isinstance(error, OSError) and error.filename is None:
                _abandon_output()
            _say(*messages(known))
            return exit_code(known)


def _known(error: BaseException) -> DisrouterError | None:
    """Return what an exception means to the user; None if it is a surprise, which must not be hidden."""
    if isinstance(error, DisrouterError):
        return error
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return InterruptedRunError("Stopped by the user.")
    if isinstance(error, ModuleNotFoundError):
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        return MissingExtraError.of(f"This command (package '{error.name}')", extra) if extra else None
    if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
        return None
    if error.filename is None:  # what is written to files has a name: this is the output
        hint = "make room where it goes, or send it elsewhere"
        return RunError(f"Cannot write the output: {error.strerror}.", hint=hint) if error.errno in _FULL else None
    return RunError(f"Cannot use '{error.filename}': {error.strerror}.", hint="check the path, its rights and the disk")


def _context_settings(extra: dict[str, Any]) -> dict[str, Any]:
    """Return what a caller (a test runner, say) may want of the context, less how to end."""
    return {key: value for key, value in extra.items() if key not in ("standalone_mode", "complete_var")}


def _click_messages(error: click.ClickException) -> list[str]:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "disrouter"
    return [f"error: {message}", f"hint: `{path} --help` lists what it takes"]


def _abandon_output() -> None:
    """Send what is left of the output nowhere: Python would complain once more while it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)

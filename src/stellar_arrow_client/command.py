"""Manners of every command: one-sentence errors, exit codes, configuration files, "did you mean"."""

from __future__ import annotations

import difflib
import os
import select
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from stellar_arrow_client.errors import ExitCode, StellarArrowError

MAX_CONFIG_BYTES = 1024 * 1024

_CONFIG_FILE = f"{__name__}.config_file"
_MISSPELT = 0.88
"""Likeness of a section's name to the one looked for, from which on it is meant to be that; commands are less alike."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` when a known word is near, else an empty string."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


class Choice(click.Choice[str]):
    """A choice that names the nearest valid word."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        known = [str(choice) for choice in self.choices]
        return f"'{value}' is not one of {', '.join(known)}{did_you_mean(str(value), known)}"


class Option(click.Option):
    """An option that shows its environment variable and its default in the help text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("show_envvar", True)
        kwargs.setdefault("show_default", True)
        super().__init__(*args, **kwargs)


def option(*declarations: str, **attributes: Any) -> Callable[[Any], Any]:
    """``click.option`` for :class:`Option`."""
    return click.option(*declarations, cls=Option, **attributes)


class _BrokenPipe(Exception):
    """Carries a BrokenPipeError, its cause, past click."""


class _Manners(click.Command):
    """What :class:`Command` and :class:`Group` share."""

    show_tracebacks = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
        kwargs["context_settings"] = settings | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is None and self.name:
            extra.setdefault("auto_envvar_prefix", self.name.upper().replace("-", "_"))
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:  # click would take any for one of stdout
            raise _BrokenPipe from error
        return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and leave the process with its exit code.

        The function of the command may return an exit code; None means success.
        """
        self.show_tracebacks = False

        def run() -> Any:
            return click.Command.main(self, args, prog_name, complete_var, standalone_mode=False, **extra)

        return sys.exit(_exit_code(self, run)) if standalone_mode else run()


class Command(_Manners):
    """A command whose errors are one sentence and an exit code.

    Args:
        tools: commands beside it, as a group of the same name: one of them runs when the first word is its name.
    """

    def __init__(self, *args: Any, tools: Group | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tools = tools

    def _called(self, words: Sequence[str]) -> Group | None:
        """The tools when one of them is meant."""
        return self.tools if words and words[0] in commands_of(self) else None

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        words = sys.argv[1:] if args is None else args
        if (tools := self._called(words)) is not None:
            return tools.main(words, *rest, **extra)
        return super().main(args, *rest, **extra)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if (tools := self._called(args)) is not None:  # for completion, which does not come by main
            return tools.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if tools := commands_of(self):
            with formatter.section("Also"):
                short = {name: tool.get_short_help_str(formatter.width) for name, tool in tools.items()}
                formatter.write_dl([(f"{ctx.command_path} {name}", text) for name, text in short.items()])


class Group(_Manners, click.Group):
    """A group of commands whose errors are one sentence and an exit code."""

    command_class = Command
    group_class = type


def commands_of(command: click.Command) -> Mapping[str, click.Command]:
    """The commands of a group, or those beside a command."""
    if isinstance(command, Command):
        return command.tools.commands if command.tools is not None else {}
    return command.commands if isinstance(command, click.Group) else {}


def run_cli(command: click.Command) -> None:
    """Entry point of a command's script."""
    command.main()


def _exit_code(command: _Manners, run: Callable[[], Any]) -> int:
    try:
        result = run()
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else command.name
        _say(f"{(_misplaced(error) or error.format_message()).rstrip('.')} (see '{path} --help')")
        return ExitCode.USAGE
    except click.ClickException as error:
        _say(error.format_message())
        return error.exit_code
    except StellarArrowError as error:
        _show_traceback(command)
        _say(str(error))
        return error.exit_code
    except SystemExit:  # click's way out when the help text meets a closed pipe
        if not _stdout_is_gone():
            raise
        return _leave_quietly()
    except _BrokenPipe as error:
        if not _stdout_is_gone():
            return _unexpected(command, error.__cause__ or error)
        return _leave_quietly()
    except Exception as error:  # the last resort: told as unexpected, with --debug in full
        return _unexpected(command, error)
    return result if isinstance(result, int) else ExitCode.OK


def _misplaced(error: click.UsageError) -> str | None:
    """What to say of an option that a subcommand does not have, but a command above it."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    at = error.ctx.parent
    while at is not None:
        if any(error.option_name in param.opts for param in at.command.params):
            return f"{error.option_name} is an option of '{at.command_path}': write it directly after that"
        at = at.parent
    return None


def _unexpected(command: _Manners, error: BaseException) -> int:
    _show_traceback(command)
    advice = "" if command.show_tracebacks else "; use --debug for the traceback"
    _say(f"unexpected {type(error).__name__}: {error}{advice}")
    return ExitCode.FAILURE


def _say(message: str) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)


def _show_traceback(command: _Manners) -> None:
    if command.show_tracebacks:
        traceback.print_exc()


def _leave_quietly() -> int:
    """Whoever read our output has had enough; keep the interpreter's last flush from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _stdout_is_gone() -> bool:
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def enable_tracebacks(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Callback of ``--debug``."""
    command = ctx.find_root().command
    if value and isinstance(command, _Manners):
        command.show_tracebacks = True


def load_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Callback of ``--config``: the section named after the command gives the defaults of its options.

    Options of a subcommand stand in a section within it: ``[command.subcommand]``.

    Raises:
        click.BadParameter: unreadable, not TOML, no such section, or a key that is no option.
    """
    if path is None:
        return
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise click.BadParameter(f"{path} is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        section: Any = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.BadParameter(f"{path} is not valid TOML: {error}") from None
    ctx.meta[_CONFIG_FILE] = path
    names = _command_names(ctx)
    for name in names:
        outer, section = section, section.get(name)
        if section is None:
            asked_for = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
            if asked_for or difflib.get_close_matches(name, outer, cutoff=_MISSPELT):
                raise click.BadParameter(f"{path} has no section [{'.'.join(names)}]{did_you_mean(name, outer)}")
            return
        if not isinstance(section, dict):
            raise click.BadParameter(f"{name} in {path} must be a section: [{'.'.join(names)}]")
    ctx.default_map = _defaults(section, ctx.command, path)


def config_file(ctx: click.Context) -> Path | None:
    """The file that :func:`load_config` read for a command or one above it."""
    path = ctx.meta.get(_CONFIG_FILE)
    return path if isinstance(path, Path) else None


def in_file(param: click.Parameter) -> bool:
    """Whether a file may set a parameter: all but the name of the file and what ends the command at once."""
    return param.expose_value or param.callback is enable_tracebacks


def _command_names(ctx: click.Context) -> list[str]:
    names: list[str] = []
    at: click.Context | None = ctx
    while at is not None:
        names.insert(0, at.command.name or "")
        at = at.parent
    return names


def _defaults(section: Mapping[str, Any], command: click.Command, path: Path) -> dict[str, Any]:
    params = {
        spelling.lstrip("-").replace("-", "_").lower(): param
        for param in filter(in_file, command.params)
        for spelling in (param.name or "", *param.opts)
    }
    subcommands = commands_of(command)
    defaults: dict[str, Any] = {}
    for key, value in section.items():
        if key in subcommands and isinstance(value, dict):
            defaults[key] = _defaults(value, subcommands[key], path)
            continue
        param = params.get(key.replace("-", "_").lower())
        if param is None or param.name is None:
            known = [name.replace("_", "-") for name in params]
            raise click.BadParameter(f"{path}: no option is called '{key}'{did_you_mean(key, known)}")
        if isinstance(value, dict) or (isinstance(value, list) and not param.multiple and param.nargs == 1):
            raise click.BadParameter(f"{path}: '{key}' takes one value")
        defaults[param.name] = value
    return defaults

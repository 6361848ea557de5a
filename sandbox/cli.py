"""The command line: verbs to functions, and SandboxError to a message and an exit code.

Every import of a part is inside its verb, so that ``--help`` starts at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox import __version__
from sandbox.errors import ExitCode, SandboxError

EPILOG = """\
exit codes: 0 ok, 1 failure, 2 wrong usage, 78 wrong configuration
settings:   the environment wins over the env file; see `ai-sandbox settings`
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the process's exit code."""
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        return int(verb(arguments))
    except SandboxError as error:
        print(f"ai-sandbox: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return int(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ai-sandbox",
        description="A private AI box: an OpenAI-compatible API and a chat page on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ai-sandbox {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(
        name: str, verb: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=text, description=text)
        command.add_argument(
            "--env-file", type=Path, metavar="FILE", help="read the settings from FILE"
        )
        command.set_defaults(verb=verb)
        return command

    up = add("up", _up, "Start the API and the chat page here, and stop both on Ctrl-C.")
    up.add_argument(
        "--given", default="", metavar="NAMES", help="names that must be settings (make run's)"
    )
    add("serve", _serve, "Serve the model's API in the foreground (the service ai-sandbox-api).")
    add("ui", _ui, "Serve the chat page in the foreground (the service ai-sandbox-ui).")
    status = add("status", _status, "Say what the running API is doing.")
    status.add_argument("--json", action="store_true", help="print the whole of /status")
    add("check", _check, "Check the settings; exit 78 when one is wrong.")
    settings = add("settings", _settings, "Print every setting in force and where it came from.")
    settings.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _up(arguments: argparse.Namespace) -> int:
    from sandbox import settings, up

    for name in arguments.given.split():
        settings.check_name(name, "on the command line of make")
    return up.run(settings.load(env_file=arguments.env_file), arguments.env_file)


def _serve(arguments: argparse.Namespace) -> int:
    from sandbox.api import launcher
    from sandbox.settings import load

    return launcher.run(load(env_file=arguments.env_file))


def _ui(arguments: argparse.Namespace) -> int:
    from sandbox.paths import Paths
    from sandbox.settings import load
    from sandbox.ui import launch

    launch.run(load(env_file=arguments.env_file).settings, Paths.here())


def _status(arguments: argparse.Namespace) -> int:
    from sandbox import report
    from sandbox.settings import load

    return report.print_status(load(env_file=arguments.env_file).settings, arguments.json)


def _check(arguments: argparse.Namespace) -> int:
    from sandbox.engine.arguments import extra_flags
    from sandbox.settings import load

    loaded = load(env_file=arguments.env_file)
    extra_flags(loaded.settings)
    print(f"The settings are right ({loaded.env_file or 'no env file'}).")
    return ExitCode.OK


def _settings(arguments: argparse.Namespace) -> int:
    from sandbox import report
    from sandbox.settings import load

    report.print_settings(load(env_file=arguments.env_file), arguments.json)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())

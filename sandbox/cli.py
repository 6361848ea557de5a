"""The command line: verbs to functions, and SandboxError to a message and an exit code.

Every import of a part is inside its verb, so that ``--help`` starts at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox import __version__
from sandbox.errors import ExitCode, SandboxError

EPILOG = """\
exit codes: 0 ok, 1 failure, 2 wrong usage, 78 wrong configuration
settings:   the environment wins over the env file; see `ai-sandbox settings`
"""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the process's exit code."""
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        code = int(verb(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who reads wants no more, such as `head`. Nor does the interpreter when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)
    except SandboxError as error:
        # Indented, so that stackscript.sh knows where the message ends and the hint begins.
        print("ai-sandbox:", error.message.replace("\n", "\n  "), file=sys.stderr)
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
    ui = add("ui", _ui, "Serve the chat page in the foreground (the service ai-sandbox-ui).")
    ui.add_argument("--prepare", action="store_true", help="only make its accounts and database")
    download = add("download", _download, "Download a model, or go on with a download; then end.")
    download.add_argument(
        "model_id", nargs="?", metavar="MODEL_ID", help="a Hugging Face id (default: the setting)"
    )
    download.add_argument("--revision", help="a commit, tag or branch (default: the setting's)")
    plan = add("plan", _plan, "Say whether a model fits a machine, and how it would be served.")
    plan.add_argument(
        "model", nargs="?", metavar="MODEL_ID", help="the model (default: the setting MODEL_ID)"
    )
    plan.add_argument("--revision", metavar="NAME", help="a commit, tag or branch of the model")
    plan.add_argument("--json", action="store_true", help="print JSON")
    where = plan.add_mutually_exclusive_group()
    where.add_argument(
        "--gpu", nargs="+", metavar="SIZE", help="for such GPUs, for example 20GB x2"
    )
    where.add_argument("--plan", metavar="NAME", help="for the Linode GPU plan of that name")
    use = add("use", _use, "Serve another model; the one that serves goes on until then.")
    use.add_argument("model_id", metavar="MODEL_ID", help="a Hugging Face id, or a folder")
    use.add_argument("--revision", metavar="NAME", help="a commit, tag or branch of the model")
    use.add_argument("--force", action="store_true", help="even if the plan says that it cannot")
    models = add("models", _models, "List the models on this machine, or remove one.")
    models.add_argument("--json", action="store_true", help="print JSON")
    models.add_argument("action", nargs="?", choices=["remove"], help="remove MODEL_ID")
    models.add_argument("model_id", nargs="?", metavar="MODEL_ID", help="the model to remove")
    protect = add("protect", _protect, "Have both services ask who it is: a key and a login.")
    protect.add_argument("--off", action="store_true", help="open them again, to everybody")
    keys = add("keys", _keys, "List the API's named keys, make one, or remove one.")
    keys.add_argument("--json", action="store_true", help="print JSON (list)")
    keys.add_argument("action", choices=["add", "list", "remove"], help="what to do")
    keys.add_argument("name", nargs="?", metavar="NAME", help="the key's name")
    add("credentials", _credentials, "Show the chat page's login and its key of the API.")
    status = add("status", _status, "Say what the running API is doing.")
    status.add_argument("--json", action="store_true", help="print the whole of /status")
    bench = add("bench", _bench, "Measure how fast the running model answers, in a minute.")
    bench.add_argument("--most", type=int, default=16, metavar="N", help="streams at once (16)")
    bench.add_argument("--seconds", type=float, default=60, metavar="S", help="how long (60)")
    bench.add_argument(
        "--picture", type=Path, default=Path("ai-sandbox-bench.svg"), metavar="FILE",
        help="where the picture goes (ai-sandbox-bench.svg)",
    )  # fmt: skip
    bench.add_argument("--json", action="store_true", help="print JSON")
    backup = add("backup", _backup, "Back up the chats, the secrets and the settings to one file.")
    backup.add_argument("folder", nargs="?", type=Path, help="where to (default: with the others)")
    restore = add("restore", _restore, "Put a backup in the place of what is here.")
    restore.add_argument("file", type=Path, metavar="FILE", help="what `ai-sandbox backup` made")
    restore.add_argument("--keep-settings", action="store_true", help="restore the chats alone")
    add("check", _check, "Check the settings; exit 78 when one is wrong.")
    settings = add("settings", _settings, "Print every setting in force and where it came from.")
    settings.add_argument("--json", action="store_true", help="print JSON")
    doctor = add("doctor", _doctor, "Collect what a person needs to debug or to report.")
    doctor.add_argument("--json", action="store_true", help="print JSON")

    install = verbs.add_parser("install", help="Install or repair this machine (root).")
    install.add_argument(
        "--fields", action="store_true", help="take the StackScript's fields from the environment"
    )
    install.add_argument("--bake", action="store_true", help="for an image: start nothing")
    install.add_argument("--gpu", action="store_true", help="for a GPU that is not here (--bake)")
    install.set_defaults(verb=_install)
    upgrade = verbs.add_parser("upgrade", help="Switch to another release; goes back by itself.")
    upgrade.add_argument("source", metavar="SOURCE", help="a folder, a .tar.gz, or its address")
    upgrade.add_argument("--sha256", default="", metavar="HASH", help="what the archive must be")
    upgrade.set_defaults(verb=_upgrade)
    rollback = verbs.add_parser("rollback", help="Go back to the release before this one.")
    rollback.set_defaults(verb=_rollback)
    uninstall = verbs.add_parser("uninstall", help="Remove AI Sandbox; the data stays.")
    uninstall.add_argument("--purge", action="store_true", help="models, chats, settings go too")
    uninstall.set_defaults(verb=_uninstall)
    # For our own units and steps: not in the list of verbs.
    verbs.add_parser("devices").set_defaults(verb=_devices)
    verbs.add_parser("check-engine").set_defaults(verb=_check_engine)
    verbs.add_parser("check-page").set_defaults(verb=_check_page)
    return parser


def _up(arguments: argparse.Namespace) -> int:
    from sandbox import settings, up

    for name in arguments.given.split():
        settings.check_name(name, "on the command line of make")
    return up.run(settings.load(env_file=arguments.env_file), arguments.env_file)


def _serve(arguments: argparse.Namespace) -> int:
    from importlib.util import find_spec

    from sandbox.settings import load

    if not find_spec("vllm"):
        _go_on_in_api_environment()
    from sandbox.api import launcher

    return launcher.run(lambda environ: load(env_file=arguments.env_file, environ=environ))


def _go_on_in_api_environment() -> None:
    """The command on a box's PATH has a small environment; vLLM is in another."""
    from sandbox.paths import Paths

    program = Paths.here().api_env / "bin/ai-sandbox"
    if not os.access(program, os.X_OK):
        raise SandboxError(
            f"The API's environment is not installed: {program} is not there.",
            "`make run` in a clone, or `sudo ai-sandbox install` on a box, makes it.",
        )
    os.execv(program, [str(program), *sys.argv[1:]])


def _ui(arguments: argparse.Namespace) -> int:
    from sandbox.paths import Paths
    from sandbox.settings import load
    from sandbox.ui import launch

    settings = load(env_file=arguments.env_file).settings
    if arguments.prepare:
        launch.prepare(settings, Paths.here())
        return ExitCode.OK
    launch.run(settings, Paths.here())


def _download(arguments: argparse.Namespace) -> int:
    from sandbox.models.download import terminal
    from sandbox.settings import load

    settings = load(env_file=arguments.env_file).settings
    return terminal.run(settings, arguments.model_id, arguments.revision)


def _plan(arguments: argparse.Namespace) -> int:
    from sandbox.models.plan import show
    from sandbox.settings import load

    model, gpu = arguments.model, arguments.gpu
    # ``--gpu 20GB MODEL_ID``: the option takes all words that follow, and this one is no size.
    if gpu and len(gpu) > 1 and model is None and {"/", ":"} & set(gpu[-1]):
        *gpu, model = gpu
    return show.run(
        load(env_file=arguments.env_file).settings,
        model,
        revision=arguments.revision,
        gpu=" ".join(gpu) if gpu else None,
        linode_plan=arguments.plan,
        as_json=arguments.json,
    )


def _use(arguments: argparse.Namespace) -> int:
    from sandbox import use
    from sandbox.settings import load

    loaded = load(env_file=arguments.env_file)
    return use.run(
        loaded, arguments.env_file, arguments.model_id, arguments.revision, arguments.force
    )


def _models(arguments: argparse.Namespace) -> int:
    from sandbox import stock
    from sandbox.settings import load

    settings = load(env_file=arguments.env_file).settings
    if not arguments.action:
        return stock.print_models(settings, arguments.json)
    if not arguments.model_id:
        raise SandboxError(
            "`ai-sandbox models remove` needs the id of a model.",
            "`ai-sandbox models` lists them.",
            ExitCode.USAGE,
        )
    return stock.remove(settings, arguments.model_id)


def _protect(arguments: argparse.Namespace) -> int:
    from sandbox import protect
    from sandbox.settings import load

    return protect.protect(load(env_file=arguments.env_file), arguments.env_file, arguments.off)


def _keys(arguments: argparse.Namespace) -> int:
    from sandbox import protect
    from sandbox.settings import load

    loaded = load(env_file=arguments.env_file)
    if arguments.action == "list":
        return protect.list_keys(loaded, arguments.json)
    if not arguments.name:
        raise SandboxError(
            f"`ai-sandbox keys {arguments.action}` needs the name of a key.",
            "For example, the name of the person or the program that will use it.",
            ExitCode.USAGE,
        )
    change = protect.add_key if arguments.action == "add" else protect.remove_key
    return change(loaded, arguments.env_file, arguments.name)


def _credentials(arguments: argparse.Namespace) -> int:
    from sandbox import protect
    from sandbox.settings import load

    return protect.print_credentials(load(env_file=arguments.env_file))


def _status(arguments: argparse.Namespace) -> int:
    from sandbox import report
    from sandbox.settings import load

    return report.print_status(load(env_file=arguments.env_file).settings, arguments.json)


def _bench(arguments: argparse.Namespace) -> int:
    from sandbox.bench import run
    from sandbox.settings import load

    return run.run(
        load(env_file=arguments.env_file).settings,
        most=arguments.most,
        seconds=arguments.seconds,
        picture=arguments.picture,
        as_json=arguments.json,
    )


def _backup(arguments: argparse.Namespace) -> int:
    from sandbox.install import backups

    return backups.back_up(arguments.env_file, arguments.folder)


def _restore(arguments: argparse.Namespace) -> int:
    from sandbox.install import backups

    return backups.restore(arguments.env_file, arguments.file, arguments.keep_settings)


def _check(arguments: argparse.Namespace) -> int:
    from sandbox import keys
    from sandbox.engine.arguments import extra_flags
    from sandbox.settings import load

    loaded = load(env_file=arguments.env_file)
    extra_flags(loaded.settings)
    keys.read(loaded.keys_file)
    print(f"The settings are right ({loaded.env_file or 'no env file'}).")
    return ExitCode.OK


def _settings(arguments: argparse.Namespace) -> int:
    from sandbox import report
    from sandbox.settings import load

    report.print_settings(load(env_file=arguments.env_file), arguments.json)
    return ExitCode.OK


def _doctor(arguments: argparse.Namespace) -> int:
    from sandbox import doctor

    return doctor.run(arguments.env_file, arguments.json)


def _install(arguments: argparse.Namespace) -> int:
    from sandbox.install import box

    _begin_as_root("install")
    return box.install(box.Options(arguments.fields, arguments.bake, arguments.gpu))


def _upgrade(arguments: argparse.Namespace) -> int:
    from sandbox.install import upgrade

    _begin_as_root("upgrade")
    return upgrade.upgrade(arguments.source, arguments.sha256)


def _rollback(arguments: argparse.Namespace) -> int:
    from sandbox.install import upgrade

    _begin_as_root("rollback")
    return upgrade.rollback()


def _uninstall(arguments: argparse.Namespace) -> int:
    from sandbox.install import uninstall

    _begin_as_root("uninstall")
    return uninstall.uninstall(arguments.purge)


def _devices(arguments: argparse.Namespace) -> int:
    from sandbox.install import devices

    devices.ensure_devices()
    return ExitCode.OK


def _check_page(arguments: argparse.Namespace) -> int:
    from sandbox.paths import Paths
    from sandbox.settings import load
    from sandbox.ui import launch

    launch.check(load().settings, Paths.here())
    print("Open WebUI can be imported.")
    return ExitCode.OK


def _check_engine(arguments: argparse.Namespace) -> int:
    from sandbox.engine import vllm_api

    vllm_api.import_all()
    print("The engine can be imported.")
    return ExitCode.OK


def _begin_as_root(verb: str) -> None:
    """Refuse other users; then what root has set for itself has no part in what is made."""
    if os.geteuid() != 0:
        raise SandboxError(
            f"`ai-sandbox {verb}` changes the system, which only root may.",
            f"Run: sudo ai-sandbox {verb}",
        )
    # The services' users must be able to read and run it: no strict umask, no Python of root's.
    os.umask(0o022)
    os.environ["PATH"] = SYSTEM_PATH


if __name__ == "__main__":
    sys.exit(main())

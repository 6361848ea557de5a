"""The one error that people see, and the exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every verb; listed in docs/reference/cli.md."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    # EX_CONFIG of sysexits.h: systemd must not restart a service that ends with it.
    CONFIG = 78


class SandboxError(Exception):
    """A failure that a person can act on.

    ``message`` says what happened with the value and the rule; ``hint`` says what to do now.
    """

    def __init__(
        self, message: str, hint: str = "", exit_code: ExitCode = ExitCode.FAILURE
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(SandboxError):
    """A setting is wrong; nothing was started and a restart would not help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.CONFIG)

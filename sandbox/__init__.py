"""AI Sandbox: a private OpenAI-compatible API and chat page on one machine."""

__version__ = "0.1.0"

"""The engine: the only part that imports vllm (never at the top of what the command line needs)."""

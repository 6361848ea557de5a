"""The machine outside: one module per outside thing."""

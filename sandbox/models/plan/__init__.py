"""What a model needs, what a machine has, and how the one is made to fit the other.

Nothing here imports torch, vllm or transformers: what must be known of them is data in ``data/``,
written by ``make reference`` and held to the real libraries by tests.
"""

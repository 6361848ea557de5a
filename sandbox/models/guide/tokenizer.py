"""The guide's tokenizer and chat template, made from the text that the guide learns from."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY_SIZE = 2048
CONTEXT_LENGTH = 1024

# Only the last user message counts, so that system prompts and history never confuse the guide;
# lower case, because the guide learns in lower case. Tools and other arguments are ignored. No role
# names: there is one role, and the answer follows the end of the question.
CHAT_TEMPLATE = """\
{%- set last = namespace(content='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}{%- set last.content = message['content'] -%}{%- endif -%}
{%- endfor -%}
{%- set text = namespace(value='') -%}
{%- if last.content is string -%}
{%- set text.value = last.content -%}
{%- elif last.content -%}
{%- for part in last.content -%}
{%- if part is string -%}
{%- set text.value = text.value ~ ' ' ~ part -%}
{%- elif part['text'] is defined -%}
{%- set text.value = text.value ~ ' ' ~ part['text'] -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_start|> ' ~ (text.value | trim | lower) ~ '<|im_end|>' -}}
{%- if not add_generation_prompt and messages and messages[-1]['role'] == 'assistant' -%}
{%- if messages[-1]['content'] is string -%}
{{- messages[-1]['content'] ~ '<|im_end|>' -}}
{%- endif -%}
{%- endif -%}
"""


def prompt(question: str) -> str:
    """What the chat template renders for a question."""
    return f"{START} {question.strip().lower()}{END}"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: common words become one token, and any text at all can be told in bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY_SIZE,
            min_frequency=2,
            special_tokens=[PAD, START, END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )

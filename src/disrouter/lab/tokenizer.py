"""The lab's tokenizer: characters, a few whole words, chat markers, and a rejection that is one token.

Saved in Hugging Face format with a chat template, so that lab models load and serve like any other model.
"""

from __future__ import annotations

import string

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from disrouter.lab.skills import ATTRIBUTES
from disrouter.utility import SCENARIOS

__all__ = ["CHAT_TEMPLATE", "REJECTION", "build_tokenizer"]

REJECTION = "I don't know"
"""The rejection text of the paper; a single token here, so that a rejection costs one token."""

_MARKERS = ("<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|agent|>", "<|end|>")
_WORDS = ("sort ", "reverse ", "count ", "shift ", "max ", *(f"{attribute} " for attribute in ATTRIBUTES))

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|agent|>{{ message['content'] }}<|end|>"
    "{% else %}<|{{ message['role'] }}|>{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|agent|>{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: printable ASCII by character, 9 skill words, 3 scenarios, 1 rejection, 6 markers."""
    characters = [c for c in string.printable if c.isprintable()] + ["\n"]
    vocabulary = {token: index for index, token in enumerate((*_MARKERS, REJECTION, *SCENARIOS, *_WORDS, *characters))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<|unk|>"))
    tokenizer.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in _MARKERS])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in (REJECTION, *SCENARIOS, *_WORDS)])
    tokenizer.decoder = decoders.Fuse()
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # untyped upstream
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast

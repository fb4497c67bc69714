"""Detokenisation of a growing answer: text deltas that never split a character."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

__all__ = ["DeltaReader", "decode"]

_UNFINISHED = "\ufffd"


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Return the text of an answer, without markers such as end-of-answer."""
    text = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # a list of tokens decodes to one text
    return text


class DeltaReader:
    """Turns the tokens of an answer, as they come, into the text each of them adds.

    A token may hold half a character, or change how the one before it reads, so text is read in the context of the
    tokens of the last delta and held back while it ends in an unfinished character.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._context = 0
        self._read = 0
        self._given = 0

    def push(self, token: int) -> str:
        """Return the text that a token finishes; empty while a character is still unfinished."""
        self._tokens.append(token)
        before = decode(self._tokenizer, self._tokens[self._context : self._read])
        after = decode(self._tokenizer, self._tokens[self._context :])
        if len(after) <= len(before) or after.endswith(_UNFINISHED):
            return ""
        self._context, self._read = self._read, len(self._tokens)
        delta = after[len(before) :]
        self._given += len(delta)
        return delta

    def finish(self) -> tuple[str, str]:
        """Return the text still held back, and the text of the whole answer."""
        text = decode(self._tokenizer, self._tokens)
        return text[self._given :], text

"""How does a number come to an end? A small model may repeat a digit for ever; an answer must stay readable."""

from __future__ import annotations

from typing import Any

WHOLE, FRACTION, ZEROS = 12, 8, 5
"""Digits before the point (a frequency in Hz has ten), behind it, and zeros right behind it.

The simulator's answers have at most 7 and 4 of the latter two.
"""


class NumberGuard:
    """Says which tokens would make a number longer than numbers in answers are.

    A number is followed as text (`follow`), so that any tokenizer with single digits will do.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        # Whatever the vocabulary, a token that begins with a digit shows one in its stored form; few do.
        stored = enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
        shown = [index for index, token in stored if any(map(str.isdecimal, token or ""))]
        self._digits = [index for index in shown if self.text(index)[:1].isdecimal()]
        self._zeros = [index for index in self._digits if self.text(index).startswith("0")]

    def text(self, token: int) -> str:
        """What a token writes by itself."""
        if token not in self._texts:
            self._texts[token] = self.tokenizer.decode([token])
        return self._texts[token]

    def follow(self, number: str, token: int) -> str:
        """The number that the text ends in after `token`, "" when it ends in none."""
        for character in self.text(token):
            if character.isdecimal() or (character == "." and number and "." not in number):
                number += character
            else:
                number = ""
        return number

    def banned(self, number: str) -> list[int]:
        """Ids of the tokens that must not follow `number`."""
        whole, point, fraction = number.partition(".")
        if not point:
            return self._digits if len(whole) >= WHOLE else []
        if len(fraction) >= FRACTION:
            return self._digits
        return self._zeros if len(fraction) >= ZEROS and not fraction.strip("0") else []

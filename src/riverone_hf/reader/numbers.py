"""How does a number come to an end? A small model may repeat a digit for ever; an answer must stay readable."""

from __future__ import annotations

from typing import Any

WHOLE, FRACTION, ZEROS = 12, 8, 5
"""Digits before the point (a frequency in Hz has ten), behind it, and zeros right behind it.

The simulator's answers have at most 7 and 4 of the latter two.
"""


class NumberGuard:
    """Says which tokens would make a number longer than numbers in answers are.

    A number is followed as text (`follow`), so that any tokenizer with single digits will do. `texts` are the tokens'.
    """

    def __init__(self, tokenizer: Any):
        self.texts = [tokenizer.decode([index]) for index in range(len(tokenizer))]
        digits = [index for index, text in enumerate(self.texts) if text[:1].isdecimal()]
        self._digits, self._zeros = digits, [index for index in digits if self.texts[index].startswith("0")]

    def follow(self, number: str, token: int) -> str:
        """The number that the text ends in after `token`, "" when it ends in none."""
        for character in self.texts[token]:
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

"""Does a text repeat an answer of the benchmark? Long runs of words that only one benchmark row has.

13-grams of words, as in appendix C of Brown et al., "Language Models are Few-Shot Learners" (arXiv:2005.14165). Words
that several benchmark rows share are its template, not its content, and what many plots of the data set say alike is
the data set's template: neither counts.

How `RUN` was chosen: of 3000 simulated plots (answers and prompts), checked against 300 others from the same writer,
456 share a run of 13 words with one of them, 46 of 20, 3 of 25 and none of 30. QCalEval's own answers have 50 to 141
words in the median, so a copy of one, or of two thirds of it, has a longer run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NGRAM = 13
RUN = 32
TEMPLATE_PLOTS = 5
"""A 13-gram in more plots of the data set than this is a template of its answer writer."""
_WORD = re.compile(r"\w+(?:[.,]\d+)*")


@dataclass(frozen=True)
class TextHits:
    """Benchmark 13-grams in the texts of one row: per text, (position, 13-gram, benchmark row) in order."""

    plot: str
    texts: tuple[tuple[tuple[int, int, str], ...], ...]


@dataclass
class TextIndex:
    """The benchmark's 13-grams; `add` its rows, `hits` for every row of the data set, then `longest` for each.

    The plots in which a 13-gram was met are remembered, so `longest` must wait until all hits are known.
    """

    _home: dict[int, str | None] = field(default_factory=dict)
    _plots: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Texts of one benchmark row."""
        for text in texts:
            for gram in ngrams(words(text)):
                if self._home.setdefault(gram, name) != name:
                    self._home[gram] = None

    def hits(self, plot: str, texts: Iterable[str]) -> TextHits:
        """What the texts of a row of `plot` share with benchmark rows."""
        found = []
        for text in texts:
            rows = [(at, gram, self._home.get(gram)) for at, gram in enumerate(ngrams(words(text)))]
            own = tuple((at, gram, home) for at, gram, home in rows if home is not None)
            for _, gram, _ in own:
                if len(self._plots[gram]) <= TEMPLATE_PLOTS:
                    self._plots[gram].add(plot)
            if own:
                found.append(own)
        return TextHits(plot, tuple(found))

    def longest(self, hits: TextHits) -> tuple[str, int] | None:
        """(benchmark row, words) of the longest run that is nobody's template; None below `RUN` words."""
        best: tuple[str, int] | None = None
        for text in hits.texts:
            start, last, name = 0, -2, ""
            for at, gram, home in text:
                if len(self._plots[gram]) > TEMPLATE_PLOTS:
                    continue
                if at != last + 1 or home != name:
                    start, name = at, home
                last = at
                length = at - start + NGRAM
                if length >= RUN and (best is None or length > best[1]):
                    best = (name, length)
        return best


def words(text: str) -> list[str]:
    """Words and numbers in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def ngrams(tokens: Sequence[str]) -> list[int]:
    """Hashes of all runs of `NGRAM` words (valid in this process)."""
    return [hash(tuple(tokens[at : at + NGRAM])) for at in range(len(tokens) - NGRAM + 1)]

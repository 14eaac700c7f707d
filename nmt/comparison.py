"""Where translations differ: by length, by how rare a word is, by phrase, by sentence. Text in, numbers out.

What compare-mt (Neubig et al. 2019) and MT-Telescope (Rei et al. 2021) show. Words stand with punctuation apart; where
a language has no spaces, each character is one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nmt.alignment import split_words
from nmt.scores import has_spaces

FEWEST = 10  # sentences of the last bucket of lengths: shorter ones are joined
RARE = (0, 1, 2, 5, 10, 100, 1000)  # where buckets of words begin: how often they stand in the training text
LONGEST_PHRASE = 4  # words
MOST_WORDS = 1_000_000  # counted ones of a training text that are kept, the most frequent


@dataclass(frozen=True)
class Bucket:
    """Sentences that have something in common."""

    label: str
    lines: list[int]  # line numbers, from 0


@dataclass(frozen=True)
class RareWords:
    """How well words of some frequency are translated."""

    label: str  # how often they stand in the training text
    count: int  # how many such words the references have
    f_measures: list[float]  # of each system, 0 to 100


@dataclass(frozen=True)
class Phrase:
    """An n-gram that one system gets right more often than another."""

    text: str
    wanted: int  # how often the references have it
    right: tuple[int, int]  # how often the first has it where the reference has it, and the second


def words(text: str, language: str) -> list[str]:
    """The words of a text."""
    if not has_spaces(language):
        return list("".join(text.split()))
    return split_words(text).texts


def count_words(lines: Iterable[str], language: str) -> dict[str, int]:
    """How often each word stands in a text, the most frequent first; at most MOST_WORDS of them."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(words(line, language))
        if len(counts) > 4 * MOST_WORDS:  # memory: words that were seen once so far are the least loss
            counts = Counter({word: count for word, count in counts.items() if count > 1})
    return dict(counts.most_common(MOST_WORDS))


def buckets_of_lengths(texts: Sequence[str], language: str) -> list[Bucket]:
    """Lines in steps of 5 words, of 10 where a tenth have over 40; the last bucket is open and has FEWEST at least.

    Steps without a line are left out.
    """
    lengths = [len(words(text, language)) for text in texts]
    step = 5 if sum(length > 40 for length in lengths) < len(lengths) / 10 else 10
    lines: dict[int, list[int]] = {}
    for line, length in enumerate(lengths):
        lines.setdefault((max(length, 1) - 1) // step, []).append(line)
    steps = sorted(lines.items())
    joined = 0
    while len(steps) > 1 and len(steps[-1][1]) < FEWEST:
        _, tail = steps.pop()
        number, own = steps.pop()
        steps.append((number, sorted(own + tail)))
        joined += 1
    labels = [f"{number * step + 1}–{(number + 1) * step}" for number, _ in steps]
    if joined:
        labels[-1] = f"{steps[-1][0] * step + 1}+"
    return [Bucket(label, own) for label, (_, own) in zip(labels, steps, strict=True)]


def rare_words(
    systems: Sequence[Sequence[str]], references: Sequence[str], counts: Mapping[str, int], language: str
) -> list[RareWords]:
    """The F-measure of words by how often they stand in the training text, whose counts are given.

    A word is right as often as both a hypothesis and its reference have it. Buckets without a word of the references
    are left out.
    """
    wanted = [Counter(words(text, language)) for text in references]

    def bucket(word: str) -> int:
        return max(place for place, least in enumerate(RARE) if counts.get(word, 0) >= least)

    def totals(texts: Iterable[Mapping[str, int]]) -> Counter[int]:
        total: Counter[int] = Counter()
        for found in texts:
            for word, count in found.items():
                total[bucket(word)] += count
        return total

    of_references = totals(wanted)
    measures = []
    for hypotheses in systems:
        own = [Counter(words(text, language)) for text in hypotheses]
        of_system, right = totals(own), totals(a & b for a, b in zip(own, wanted, strict=True))
        measures.append(
            {place: 200 * right[place] / (of_system[place] + of_references[place]) for place in of_references}
        )
    ends = [*(least - 1 for least in RARE[1:]), None]
    labels = [f"{a}+" if b is None else str(a) if a == b else f"{a}–{b}" for a, b in zip(RARE, ends, strict=True)]
    return [
        RareWords(label, of_references[place], [measure[place] for measure in measures])
        for place, label in enumerate(labels)
        if place in of_references
    ]


def phrases(
    first: Sequence[str], second: Sequence[str], references: Sequence[str], language: str, most: int = 10
) -> list[Phrase]:
    """The n-grams of the references that the first system gets right more often than the second, the clearest first.

    Ordered by the share of right ones that are the first's, one added to each side (compare-mt's score).
    """
    wanted: Counter[tuple[str, ...]] = Counter()
    right: tuple[Counter[tuple[str, ...]], ...] = (Counter(), Counter())
    for *hypotheses, reference in zip(first, second, references, strict=True):
        own = _n_grams(words(reference, language))
        wanted += own
        for total, hypothesis in zip(right, hypotheses, strict=True):
            total += own & _n_grams(words(hypothesis, language))

    def share(n_gram: tuple[str, ...]) -> float:
        return (right[0][n_gram] + 1) / (right[0][n_gram] + right[1][n_gram] + 2)

    better = [n_gram for n_gram, count in right[0].items() if count > right[1][n_gram]]
    better.sort(key=lambda n_gram: (-share(n_gram), -len(n_gram), n_gram))
    between = " " if has_spaces(language) else ""
    return [
        Phrase(between.join(n_gram), wanted[n_gram], (right[0][n_gram], right[1][n_gram])) for n_gram in better[:most]
    ]


def _n_grams(found: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(found[start : start + size])
        for size in range(1, LONGEST_PHRASE + 1)
        for start in range(len(found) - size + 1)
    )


def histogram(values: Iterable[float], bounds: Sequence[float]) -> list[int]:
    """How many values lie below the first bound, between each and the next, and from the last on."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[sum(value >= bound for bound in bounds)] += 1
    return counts

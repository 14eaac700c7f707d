"""The toy corpus: its program makes it again, and it is hard enough to be worth learning."""

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import sacrebleu

from nmt.alignment import split_words
from nmt.gold import Gold, diagonal, read_gold, worth

TOY = Path(__file__).parent.parent / "data" / "toy"
COUNTS = {"train": 6000, "valid": 200, "test": 300, "long": 200}
WITH_GOLD = ["test", "long"]


def lines(name: str) -> list[str]:
    """The lines of a file of the corpus."""
    text = (TOY / name).read_bytes().decode()
    assert text.endswith("\n") and "\r" not in text
    return text[:-1].split("\n")


def words(line: str) -> list[str]:
    """The words of a line, as gold links count them."""
    return split_words(line).texts


def aligned(name: str) -> list[tuple[list[str], list[str], Gold]]:
    """German words, English words and gold of each pair."""
    german, english = ([words(line) for line in lines(f"{name}.{side}")] for side in ("de", "en"))
    return list(zip(german, english, read_gold(TOY / f"{name}.gold"), strict=True))


def test_program_makes_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", str(TOY / "make.py"), "--out", str(tmp_path)], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    here = {path.name: path.read_bytes() for path in TOY.iterdir() if path.suffix in (".de", ".en", ".gold")}
    assert made.keys() == here.keys()
    assert [name for name in sorted(made) if made[name] != here[name]] == []


@pytest.mark.parametrize("name", COUNTS)
def test_both_sides_have_a_line_for_each_pair(name: str) -> None:
    assert len(lines(f"{name}.de")) == len(lines(f"{name}.en")) == COUNTS[name]
    assert len(set(lines(f"{name}.de"))) == COUNTS[name]


@pytest.mark.parametrize("name", ["valid", *WITH_GOLD])
def test_held_out_sentences_are_unseen(name: str) -> None:
    assert set(lines(f"{name}.de")).isdisjoint(lines("train.de"))


def test_test_sets_share_no_sentence() -> None:
    together = [line for name in ("valid", *WITH_GOLD) for line in lines(f"{name}.de")]
    assert len(set(together)) == len(together)


@pytest.mark.parametrize("name", COUNTS)
def test_lengths_are_within_bounds(name: str) -> None:
    shortest, longest = (31, 60) if name == "long" else (3, 30)
    assert all(shortest <= len(words(line)) <= longest for line in lines(f"{name}.de"))
    assert all(3 <= len(words(line)) <= longest for line in lines(f"{name}.en"))


def test_whole_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in TOY.iterdir() if path.is_file()) < 1_000_000


@pytest.mark.parametrize("name", WITH_GOLD)
def test_gold_links_all_words_but_german_commas(name: str) -> None:
    for german, english, gold in aligned(name):
        assert gold.sure == gold.possible
        sources, targets = ({link[side] for link in gold.sure} for side in (0, 1))
        assert targets == set(range(len(english)))
        assert sources <= set(range(len(german)))
        assert {german[i] for i in set(range(len(german))) - sources} <= {","}


@pytest.mark.parametrize("name", WITH_GOLD)
def test_gold_links_marks_to_the_same_mark(name: str) -> None:
    for german, english, gold in aligned(name):
        assert (len(german) - 1, len(english) - 1) in gold.sure
        for i, j in gold.sure:
            marks = {german[i], english[j]} & {",", ".", "?"}
            assert not marks or german[i] == english[j]


@pytest.mark.parametrize("name", WITH_GOLD)
def test_word_by_word_translation_is_poor(name: str) -> None:
    pairs = aligned(name)
    translations: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for german, english, gold in pairs:
        for i, word in enumerate(german):
            linked = " ".join(english[j] for j in sorted(j for source, j in gold.sure if source == i))
            if linked:
                translations[word][linked] += 1
    dictionary = {word: counts.most_common(1)[0][0] for word, counts in translations.items()}
    found = [" ".join(dictionary.get(word, "") for word in german) for german, _, _ in pairs]
    assert sacrebleu.corpus_bleu(found, [lines(f"{name}.en")], force=True).score < 40


@pytest.mark.parametrize("name", WITH_GOLD)
def test_diagonal_alignment_is_poor(name: str) -> None:
    pairs = aligned(name)
    found = [diagonal(len(german), len(english)) for german, english, _ in pairs]
    assert worth(found, [gold for _, _, gold in pairs]).error_rate > 0.40

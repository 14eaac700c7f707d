"""Scores against sacreBLEU's own command line, tests of groups against those of single systems, and faults."""

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nmt import scores
from nmt.lines import write_lines

WORDS = ["der", "die", "das", "hund", "mann", "frau", "sieht", "läuft", "und", "groß", "klein", "rot"]


def sentences(seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(3, 14))) + "." for _ in range(80)]


def corrupted(lines: list[str], seed: int, share: float) -> list[str]:
    """The lines with a share of their words changed: translations of a quality of our choice."""
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) if draw.random() < share else w for w in line.split()) for line in lines]


REFERENCES = sentences(0)
GOOD, WORSE, ALIKE = (corrupted(REFERENCES, seed, share) for seed, share in ((1, 0.15), (2, 0.3), (3, 0.15)))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[list[list[float]]]:
    """Score, mean, interval and (from the second on) p-value of BLEU and chrF++ of GOOD, WORSE and ALIKE.

    As `sacrebleu --paired-bs` prints them, in a table, since its JSON cannot hold chrF's.
    """
    folder: Path = tmp_path_factory.mktemp("texts")
    for name, lines in {"reference": REFERENCES, "good": GOOD, "worse": WORSE, "alike": ALIKE}.items():
        write_lines(folder / name, lines)
    words = ["-i", "good", "worse", "alike", "-m", "bleu", "chrf", "--chrf-word-order", "2", "--paired-bs"]
    command = [sys.executable, "-m", "sacrebleu", "reference", *words, "-f", "text", "-w", "6"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, encoding="utf-8")
    rows = [line.split("│")[2:4] for line in done.stdout.splitlines() if line.startswith("│")][1:]  # the first: titles
    numbers = [[[float(number) for number in re.findall(r"\d+\.\d+", cell)] for cell in row] for row in rows]
    good, worse, p_worse, alike, p_alike = numbers
    return [good, *([[*a, *b] for a, b in zip(*pair, strict=True)] for pair in ((worse, p_worse), (alike, p_alike)))]


def test_scores_and_intervals_are_those_of_sacrebleu(told: list[list[list[float]]]) -> None:
    for (of_bleu, of_chrf), hypotheses in zip(told, (GOOD, WORSE, ALIKE), strict=True):
        assert scores.bleu(hypotheses, REFERENCES, "de").value == pytest.approx(of_bleu[0], abs=1e-5)
        assert scores.chrf(hypotheses, REFERENCES).value == pytest.approx(of_chrf[0], abs=1e-5)
        found = scores.intervals(hypotheses, REFERENCES, "de")
        assert found.bleu == pytest.approx(of_bleu[2], abs=1e-4)
        assert found.chrf == pytest.approx(of_chrf[2], abs=1e-4)


def test_p_values_are_those_of_sacrebleu(told: list[list[list[float]]]) -> None:
    found = scores.p_values(GOOD, [WORSE, ALIKE], REFERENCES, "de")
    for own, (of_bleu, of_chrf) in zip(found, told[1:], strict=True):
        assert own.bleu == pytest.approx(of_bleu[3], abs=1e-4)
        assert own.chrf == pytest.approx(of_chrf[3], abs=1e-4)
    assert found[0].bleu < 0.05 < found[1].bleu


def test_equal_systems_do_not_differ() -> None:
    assert scores.p_values(GOOD, [GOOD, WORSE], REFERENCES, "de")[0] == scores.PValues(1.0, 1.0)
    assert scores.group_p_value([GOOD, WORSE], [WORSE, GOOD], REFERENCES, "de") == 1.0


def test_a_group_of_one_is_a_single_system() -> None:
    for other, single in zip((WORSE, ALIKE), scores.p_values(GOOD, [WORSE, ALIKE], REFERENCES, "de"), strict=True):
        assert scores.group_p_value([GOOD], [other], REFERENCES, "de") == pytest.approx(single.bleu)
    group = scores.group_bleu([GOOD], REFERENCES, "de")
    assert group.value == scores.bleu(GOOD, REFERENCES, "de").value
    assert (group.high - group.low) / 2 == pytest.approx(scores.intervals(GOOD, REFERENCES, "de").bleu)


def test_runs_that_differ_widen_what_sentences_alone_leave_open() -> None:
    seeds = [corrupted(REFERENCES, seed, share) for seed, share in ((4, 0.05), (5, 0.2), (6, 0.35))]
    others = [corrupted(REFERENCES, seed, share) for seed, share in ((7, 0.1), (8, 0.25), (9, 0.4))]
    group = scores.group_bleu(seeds, REFERENCES, "de")
    assert group.value == pytest.approx(np.mean([scores.bleu(own, REFERENCES, "de").value for own in seeds]))
    assert group.low < group.value < group.high
    single = scores.group_bleu([seeds[1]], REFERENCES, "de")
    assert group.high - group.low > 2 * (single.high - single.low)
    # One run of each is far better than one of the other, and yet neither recipe is.
    assert scores.p_values(seeds[0], [others[2]], REFERENCES, "de")[0].bleu < 0.01
    assert scores.group_p_value(seeds, others, REFERENCES, "de") > 0.1
    assert scores.group_p_value([GOOD] * 3, [WORSE] * 3, REFERENCES, "de") == pytest.approx(
        scores.group_p_value([GOOD], [WORSE], REFERENCES, "de")
    )


def test_sentences_are_scored_by_themselves() -> None:
    found = scores.sentence_scores(["der hund läuft", "", "x y"], ["der hund läuft", "der hund", "a b"], "de")
    assert found[0] == (pytest.approx(100), pytest.approx(100))
    assert found[1] == (0, 0)
    assert found[2][0] == 0


def test_faults_are_counted_where_the_reference_has_none() -> None:
    rows = [
        ("ein hund", "a dog", "a dog"),
        ("ein mann", "ein mann", "a man"),  # copied
        ("OK", "OK", "OK"),  # rightly so
        ("eine frau", " ", "a woman"),  # empty
        ("sie singt", "she sings and she sings and she sings and", "she sings"),  # looping
        ("ha ha ha", "ha ha ha", "ha ha ha!"),  # copied, and loops
        ("nein nein nein", "no no no", "no no no"),  # rightly so
        ("", "", ""),  # nothing to translate
    ]
    sources, hypotheses, references = (list(column) for column in zip(*rows, strict=True))
    found = scores.faults(sources, hypotheses, references, "en")
    assert (found.empty, found.copied, found.looping) == (1 / 7, 2 / 7, 2 / 7)
    assert scores.faults(["狗"], ["我我我我"], ["我"], "zh").looping == 1
    assert scores.faults([""], [""], [""], "en") == scores.Faults(0, 0, 0)


def test_bad_systems_have_intervals() -> None:
    found = scores.intervals(["the dog"] + [""] * 3 + ["cat"] * 3, ["the dog"] + ["the cat"] * 6, "en")
    assert found.bleu >= 0 and found.chrf > 0

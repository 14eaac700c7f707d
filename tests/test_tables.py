"""Tables and sentences of an evaluation that is made up."""

import pytest

from nmt import scores
from nmt.evaluation import Difference, Output, Result, TestResult
from nmt.lines import TextPairs
from nmt.tables import Column, Table, differences_table, scores_table, verdict

TABLE = Table([Column("system", number=False), Column("BLEU")], [["a", "9.0"], ["longer | name", "10.0"]])


def output(bleu: float, perplexity: float | None = 2.0) -> Output:
    return Output(["x"], None, scores.Bleu(bleu, "s", 1.0), scores.Score(50.0, "s"), perplexity, perplexity, perplexity)


def result(*bleu: float, perplexity: float | None = 2.0) -> Result:
    return Result([output(value, perplexity) for value in bleu], (1.0, 99.0), (40.0, 60.0), [(0.0, 0.0)])


def compared(p: float, **results: Result) -> TestResult:
    names = list(results)
    differences = [
        Difference(a, b, results[b].first.bleu.value - results[a].first.bleu.value, p, 0.0, None)
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    ]
    return TestResult("news", TextPairs(["s"], ["t"]), results, differences, [], [], [])


def test_columns_stand_under_their_titles() -> None:
    assert TABLE.text() == ["system         BLEU", "a               9.0", "longer | name  10.0"]
    assert TABLE.markdown() == [
        "| system | BLEU |",
        "| --- | ---: |",
        "| a | 9.0 |",
        "| longer \\| name | 10.0 |",
    ]


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.04, "news: b is better than c (BLEU 30.0 against 20.0, p = 0.040)."),
        (0.0009, "news: b is better than c (BLEU 30.0 against 20.0, p < 0.001)."),
        (0.3, "news: no clear difference between b and c (BLEU 30.0 against 20.0, p = 0.300)."),
    ],
)
def test_the_verdict_is_about_the_two_best(p: float, said: str) -> None:
    assert verdict(compared(p, a=result(10), b=result(30), c=result(20))) == said


def test_a_single_system_has_an_interval_and_no_difference() -> None:
    test = compared(0.5, a=result(10))
    assert verdict(test) == "news: a reaches BLEU 10.0 (95 % interval 1.0 to 99.0)."
    assert differences_table(test) is None


def test_a_group_has_mean_and_deviation_and_a_file_no_perplexity() -> None:
    rows = scores_table(compared(0.5, group=result(10, 12), file=result(5, perplexity=None))).rows
    assert rows[0][1:4] == ["11.0 ± 1.4", "1.0–99.0", "50.0 ± 0.0"]
    assert rows[1][1] == "5.0" and rows[1][5:7] == ["–", "–"] and rows[1][8] == "–"


def test_a_difference_says_whose_favour_it_is_in() -> None:
    def rows(p: float) -> list[list[str]]:
        table = differences_table(compared(p, a=result(10), b=result(30), c=result(20)))
        assert table is not None
        return table.rows

    assert [row[0:2] + row[5:] for row in rows(0.01)] == [
        ["b − a", "+20.0", "b is better"],
        ["c − a", "+10.0", "c is better"],
        ["c − b", "−10.0", "b is better"],
    ]
    assert {row[5] for row in rows(0.05)} == {"not clear"}

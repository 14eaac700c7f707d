"""What an aligner is taught on."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nmt import teaching
from nmt.alignment import split_words
from nmt.config import InputError, SubwordConfig
from nmt.corpus import TrainingCorpus
from nmt.lines import TextPairs, write_lines
from nmt.subwords import Pieces, learn_subwords

PAIRS = TextPairs(["ab c d", "c ab", "d d"], ["x yz", "yz x x", "yz"])


def pieces(text: str) -> Pieces:
    """A piece a letter, spaces with what follows."""
    ends = [place + 1 for place, letter in enumerate(text) if letter != " "]
    return Pieces(list(range(5, 5 + len(ends))), list(zip([0, *ends], ends, strict=False)), text)


@pytest.fixture(scope="module")
def translator() -> Any:
    subwords, _ = learn_subwords(PAIRS.sources * 9, PAIRS.targets * 9, SubwordConfig(vocabulary_size=16, joint=False))
    return SimpleNamespace(subwords=subwords)


def test_pieces_of_a_word_share_what_chooses_it() -> None:
    linked = torch.tensor([[0.2, 0.5, 0.1], [0.7, 0.0, 0.0]])  # x, yz on ab, c, d
    words = split_words("ab c d"), split_words("x yz")
    by_target, by_source = teaching._of_pieces(linked, pieces("ab c d"), pieces("x yz"), words).float()
    expected = torch.tensor([[0.1, 0.1, 0.5, 0.1], [0.35, 0.35, 0.0, 0.0], [0.35, 0.35, 0.0, 0.0]])
    torch.testing.assert_close(by_target, expected, atol=1e-3, rtol=0)  # each target piece chooses as its word does
    expected = torch.tensor([[0.2, 0.2, 0.5, 0.1], [0.35, 0.35, 0.0, 0.0], [0.35, 0.35, 0.0, 0.0]])
    torch.testing.assert_close(by_source, expected, atol=1e-3, rtol=0)  # each source piece, too


def test_given_links_are_of_words(translator: Any) -> None:
    lesson = teaching.given_lesson(translator, PAIRS, [1, 2], [{(9, 9)}, {(0, 1), (0, 2)}, set()], "space")
    assert lesson.sources == translator.subwords.source.encode(PAIRS.sources[1:])
    assert lesson.targets == translator.subwords.target.encode(PAIRS.targets[1:])
    first, second = lesson.links
    assert first.shape[1:] == (len(lesson.targets[0]), len(lesson.sources[0]))
    assert first[1].sum() == 2 * len(translator.subwords.source.encode(["c"])[0])  # chosen by two words
    assert second.sum() == 0
    with pytest.raises(InputError, match="line 1 of the links: 9-9, but there are 3 and 2 words"):
        teaching.given_lesson(translator, PAIRS, [0], [{(9, 9)}], "space")


def test_words_without_a_piece_do_no_harm(translator: Any) -> None:
    odd = TextPairs(["ab \ufffd c", "c ab", "\ufffd d"], ["x \ufffd", "\ufffd yz x", "yz"])
    assert not translator.subwords.source.encode(["\ufffd"])[0]  # SentencePiece drops it
    lesson = teaching.counted_lesson(translator, odd, [0, 1, 2], ("de", "en"))
    given = teaching.given_lesson(translator, odd, [0, 1, 2], [{(1, 1), (0, 0)}, {(0, 0)}, {(0, 0)}], "punctuation")
    assert all(links.isfinite().all() for links in [*lesson.links, *given.links])


def test_a_file_of_links_has_a_line_a_pair(tmp_path: Any) -> None:
    write_lines(tmp_path / "links", ["0-0 1p1", ""])
    assert teaching.read_links(tmp_path / "links", 2) == [{(0, 0), (1, 1)}, set()]
    with pytest.raises(InputError, match="2 lines of links, but the training text has 3"):
        teaching.read_links(tmp_path / "links", 3)


def test_words_count_only_where_there_are_spaces(translator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    plain = teaching.agreed_links

    def noted(sources: Any, targets: Any, bar: str) -> list[torch.Tensor]:
        counted.append(bar)
        return plain(sources, targets, bar)

    monkeypatch.setattr(teaching, "agreed_links", noted)
    both = teaching.counted_lesson(translator, PAIRS, [0, 1, 2], ("de", "en"))
    one = teaching.counted_lesson(translator, PAIRS, [0, 1, 2], ("de", "ja"))
    assert counted == ["counting pieces", "counting words", "counting pieces"]
    assert both.sources == one.sources and any(
        not torch.equal(a, b) for a, b in zip(both.links, one.links, strict=True)
    )
    for lesson in (both, one):
        for source, target, links in zip(lesson.sources, lesson.targets, lesson.links, strict=True):
            assert links.shape == (2, len(target), len(source)) and links.min() >= 0 and links.max() <= 1


def test_as_many_lines_are_taken_as_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = torch.full((100, 2), 10)
    corpus: TrainingCorpus = TrainingCorpus(SimpleNamespace(), lengths, torch.arange(0, 100, 2), {})
    assert teaching.choose_lines(corpus).tolist() == list(range(0, 100, 2))
    monkeypatch.setattr(teaching, "MOST_CELLS", 1000)
    chosen = teaching.choose_lines(corpus).tolist()
    assert len(chosen) == 10 and set(chosen) <= set(range(0, 100, 2)) and max(chosen) > 80

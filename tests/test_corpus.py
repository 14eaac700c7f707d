"""Parallel text: pairs stay pairs, what is dropped is counted, and the cache is never stale."""

import random
import re
from pathlib import Path

import pytest
import torch

from nmt import corpus as corpus_file
from nmt.config import DataConfig, FilePair, InputError, SubwordConfig
from nmt.corpus import TrainingCorpus, load_training_corpus, seen_lines, training_lines
from nmt.lines import check_pairs, file_digest, read_pairs, write_lines
from nmt.subwords import Subwords, learn_subwords

ODD = [
    "\u2028",
    "\r a",
    "\x85",
    "😀",
    "",
    " ",
    "a\u2028b",
    "a\rb",
    "a\x85b",
    "a\x0b\x0cb",
    "\x1c",
    "<s>",
    "e\u0301",
    "日本",
]
LETTERS = "abcdefgh"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NMT_CACHE", str(folder))
    return folder


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever text is encoded anew."""
    made: list[str] = []
    encode = corpus_file._encode_to

    def noted(folder: Path, files: FilePair, subwords: Subwords, fingerprint: str) -> None:
        made.append(fingerprint)
        encode(folder, files, subwords, fingerprint)

    monkeypatch.setattr(corpus_file, "_encode_to", noted)
    return made


def text(seed: int, lines: int = 200) -> list[str]:
    draw = random.Random(seed)
    words = ["".join(draw.choices(LETTERS, k=draw.randrange(1, 6))) for _ in range(30)]
    return [" ".join(draw.choices(words, k=draw.randrange(1, 8))) for _ in range(lines)]


def write_pair(folder: Path, sources: list[str], targets: list[str], name: str = "train") -> FilePair:
    files = FilePair(source=str(folder / f"{name}.de"), target=str(folder / f"{name}.en"))
    write_lines(Path(files.source), sources)
    write_lines(Path(files.target), targets)
    return files


def config(files: FilePair, **keys: object) -> DataConfig:
    sections = {"source_language": "de", "target_language": "en", "train": files, "valid": files}
    return DataConfig.model_validate(sections | keys)


def learn(files: FilePair, size: int = 60) -> Subwords:
    return learn_subwords(*training_lines(files), SubwordConfig(vocabulary_size=size, joint=False))[0]


def ids(corpus: TrainingCorpus, lines: torch.Tensor) -> tuple[list[list[int]], list[list[int]]]:
    sources, targets = corpus.ids(lines)
    return [row.tolist() for row in sources], [row.tolist() for row in targets]


def rows(corpus: TrainingCorpus) -> tuple[list[list[int]], list[list[int]]]:
    return ids(corpus, torch.arange(len(corpus.lengths)))


@pytest.fixture
def files(tmp_path: Path) -> FilePair:
    return write_pair(tmp_path, text(1), text(2))


@pytest.mark.parametrize(("sources", "targets"), [(1234, 1233), (1, 2), (0, 3), (3, 0)])
def test_unequal_files_name_both_counts(tmp_path: Path, sources: int, targets: int) -> None:
    unequal = write_pair(tmp_path, ["a"] * sources, ["b"] * targets, "unequal")
    for read in (read_pairs, check_pairs):
        with pytest.raises(InputError) as caught:
            read(unequal)
        assert f"{unequal.source} has {sources:,} lines" in str(caught.value)
        assert f"{unequal.target} has {targets:,}" in str(caught.value)


def test_files_that_end_apart_are_never_encoded(tmp_path: Path, files: FilePair, cache: Path) -> None:
    subwords = learn(files)
    unequal = write_pair(tmp_path, text(1), text(2)[:-1], "unequal")
    with pytest.raises(InputError, match=r"200 lines, .* 199"):
        load_training_corpus(config(unequal), subwords)
    assert list(cache.iterdir()) == []


def test_missing_and_empty_files_are_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = FilePair(source="missing.de", target="missing.en")
    for read in (read_pairs, check_pairs):
        with pytest.raises(InputError, match=f"^{tmp_path / 'missing.de'} "):
            read(missing)
    with pytest.raises(InputError, match=f"^{tmp_path / 'missing.de'}"):
        file_digest(Path("missing.de"))
    with pytest.raises(InputError, match="empty"):
        check_pairs(write_pair(tmp_path, [], [], "empty"))


def test_rows_are_what_the_lines_encode_to(files: FilePair) -> None:
    subwords = learn(files)
    corpus = load_training_corpus(config(files), subwords)
    sources, targets = rows(corpus)
    assert sources == subwords.source.encode(text(1)) and targets == subwords.target.encode(text(2))
    assert corpus.lengths.tolist() == [[len(s), len(t)] for s, t in zip(sources, targets, strict=True)]


@pytest.mark.parametrize(("lines", "groups"), [(1, 1), (7, 3), (10, 20), (300, 1)])
def test_any_rows_are_those_that_datasets_gives(
    files: FilePair, monkeypatch: pytest.MonkeyPatch, lines: int, groups: int
) -> None:
    monkeypatch.setattr(corpus_file, "LINES_A_GROUP", lines)
    monkeypatch.setattr(corpus_file, "GROUPS_A_BATCH", groups)
    monkeypatch.setattr(corpus_file, "LINES_A_PART", lines)
    subwords = learn(files)
    corpus = load_training_corpus(config(files, max_length=5), subwords)
    assert rows(corpus) == (subwords.source.encode(text(1)), subwords.target.encode(text(2)))
    for some in (corpus.kept, torch.tensor([7, 0, 7, 199]), torch.tensor([], dtype=torch.long)):
        expected = corpus.rows[some.tolist()]
        assert ids(corpus, some) == (expected["source"], expected["target"])
    lengths = corpus.lengths[corpus.kept]
    assert 0 < len(lengths) < 200 and int(lengths.max()) <= 5 and len(lengths) + sum(corpus.dropped.values()) == 200


def test_odd_lines_never_shift_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_file, "LINES_A_GROUP", 7)  # groups that end within
    draw = random.Random(5)
    sources, targets = text(1), text(2)
    for line in draw.sample(range(1, 200), 80):
        side = sources if draw.random() < 0.5 else targets
        side[line] = draw.choice(ODD)
    files = write_pair(tmp_path, sources, targets)
    pairs = read_pairs(files)
    assert pairs.sources == sources and pairs.targets == targets and check_pairs(files) == 200
    subwords = learn(files, size=90)
    corpus = load_training_corpus(config(files), subwords)
    assert rows(corpus) == (subwords.source.encode(sources), subwords.target.encode(targets))
    for line in corpus.kept.tolist():
        assert sources[line].strip(" \x1c") and targets[line].strip(" \x1c")


def test_gzipped_text_is_the_same_text(tmp_path: Path, files: FilePair) -> None:
    zipped = FilePair(source=files.source + ".gz", target=files.target + ".gz")
    write_lines(Path(zipped.source), text(1))
    write_lines(Path(zipped.target), text(2))
    assert learn(zipped).digest() == learn(files).digest()
    subwords = learn(files)
    plain, packed = (load_training_corpus(config(pair), subwords) for pair in (files, zipped))
    assert rows(plain) == rows(packed)


def test_filters_drop_what_they_say_and_count_it(tmp_path: Path) -> None:
    one = "a"
    sources = [*text(1), "", one, " ", "", " ".join([one] * 30), one, " ".join([one] * 9), one, one]
    targets = [*text(2), one, "\u3000", "", "\x85 ", " ".join([one] * 30), " ".join([one] * 21), one, one, one]
    files = write_pair(tmp_path, sources, targets)
    subwords = learn(files)
    corpus = load_training_corpus(config(files, max_length=20, max_length_ratio=4.0), subwords)
    lengths = list(zip(map(len, rows(corpus)[0]), map(len, rows(corpus)[1]), strict=True))
    reasons = dict.fromkeys(corpus.dropped, 0)
    empty, long, uneven = reasons
    assert "empty" in empty and "20" in long and "4" in uneven
    kept = []
    for line, (source, target) in enumerate(lengths):
        if not source or not target:
            reasons[empty] += 1
        elif max(source, target) > 20:
            reasons[long] += 1
        elif max(source, target) > 4 * min(source, target):
            reasons[uneven] += 1
        else:
            kept.append(line)
    assert corpus.kept.tolist() == kept and corpus.dropped == reasons
    assert all(reasons.values())
    assert len(corpus.kept) + sum(corpus.dropped.values()) == len(sources)
    assert {len(sources) - 1, len(sources) - 2} <= set(kept)


def test_a_pair_at_the_limits_is_kept(files: FilePair) -> None:
    subwords = learn(files)
    longest = int(load_training_corpus(config(files), subwords).lengths.max())
    for limit, dropped in ((longest, False), (longest - 1, True)):
        corpus = load_training_corpus(config(files, max_length=limit), subwords)
        assert bool(corpus.dropped[f"longer than {limit} pieces"]) == dropped


def test_filters_that_leave_nothing_are_a_mistake(tmp_path: Path) -> None:
    files = write_pair(tmp_path, [f"{line} {line}" for line in text(1)], text(2))
    with pytest.raises(InputError, match=r"no training pair is left.*200") as caught:
        load_training_corpus(config(files, max_length=1, max_length_ratio=1.0), learn(files))
    assert "data.max_length" in str(caught.value) and files.source in str(caught.value)
    subwords, halves = learn(files), write_pair(tmp_path, text(1), [""] * len(text(1)), "halves")
    with pytest.raises(InputError, match=r"one side is: is .*its translation") as caught:
        load_training_corpus(config(halves), subwords)
    assert "raise" not in str(caught.value) and halves.target in str(caught.value)


def test_the_same_text_is_encoded_once(tmp_path: Path, files: FilePair, encodings: list[str]) -> None:
    subwords = learn(files)
    first = load_training_corpus(config(files), subwords)
    again = load_training_corpus(config(files, max_length=20), Subwords(subwords.source, subwords.target))
    renamed = write_pair(tmp_path, text(1), text(2), "renamed")
    other = load_training_corpus(config(renamed), subwords)
    assert len(encodings) == 1
    assert rows(first) == rows(again) == rows(other)


def test_changed_text_and_changed_subwords_are_encoded_anew(
    tmp_path: Path, files: FilePair, encodings: list[str]
) -> None:
    subwords = learn(files)
    load_training_corpus(config(files), subwords)
    sources, targets = text(1), text(2)
    for count, side in enumerate((sources, targets), 2):
        side[17] = side[17][::-1]  # the same size, under the same name
        write_pair(tmp_path, sources, targets)
        changed = load_training_corpus(config(files), subwords)
        assert rows(changed) == (subwords.source.encode(sources), subwords.target.encode(targets))
        assert len(encodings) == count
    other = learn(files, size=50)
    assert rows(load_training_corpus(config(files), other))[0] == other.source.encode(sources)
    swapped = config(FilePair(source=files.target, target=files.source))
    assert rows(load_training_corpus(swapped, subwords))[0] == subwords.source.encode(targets)
    mirrored = Subwords(subwords.target, subwords.source)
    assert rows(load_training_corpus(config(files), mirrored))[0] == subwords.target.encode(sources)
    assert len(set(encodings)) == len(encodings) == 6


def test_the_cache_can_be_deleted(files: FilePair, cache: Path, encodings: list[str]) -> None:
    subwords = learn(files)
    before = rows(load_training_corpus(config(files), subwords))
    for path in sorted(cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert rows(load_training_corpus(config(files), subwords)) == before and len(encodings) == 2


@pytest.mark.parametrize("name", ["pairs.arrow", "lengths", "sums"])
def test_a_cache_that_was_damaged_says_what_to_do(files: FilePair, cache: Path, name: str) -> None:
    subwords = learn(files)
    before = rows(load_training_corpus(config(files), subwords))
    [folder] = cache.iterdir()
    whole = (folder / name).read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), len(whole) // 20)]
    for damaged in (b"", whole[:1], whole[:-2], whole + b"\n", *flipped, None):
        (folder / name).write_bytes(damaged) if damaged is not None else (folder / name).unlink()
        with pytest.raises(InputError, match=f"^{re.escape(str(folder))}: .* damaged; delete the folder"):
            load_training_corpus(config(files), subwords)
    (folder / name).write_bytes(whole)
    assert rows(load_training_corpus(config(files), subwords)) == before


def test_an_encoding_that_fails_leaves_nothing_to_hit(
    files: FilePair, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subwords = learn(files)
    encode = corpus_file._encode_to

    def cut_short(folder: Path, *arguments: object) -> None:
        (folder / "pairs.arrow").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus_file, "_encode_to", cut_short)
    with pytest.raises(KeyboardInterrupt):
        load_training_corpus(config(files), subwords)
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(corpus_file, "_encode_to", encode)
    assert rows(load_training_corpus(config(files), subwords))[0] == subwords.source.encode(text(1))


def test_a_cache_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, files: FilePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NMT_CACHE", str(tmp_path / "train.de"))
    with pytest.raises(InputError, match=f"{tmp_path / 'train.de'}.*NMT_CACHE"):
        load_training_corpus(config(files), learn(files))


def test_lines_of_the_training_text_are_counted(files: FilePair) -> None:
    training = text(1)
    some = [training[3], "no such line", training[3], training[0] + " ", ""]
    found = seen_lines({"some": some, "none": [], "all": training, "blank": ["", ""]}, Path(files.source))
    assert found == {"some": 2, "none": 0, "all": len(training), "blank": 0}

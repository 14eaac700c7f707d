"""Makes the toy corpus: German-English pairs from a small grammar, with gold word alignments.

A sentence is built in both languages at once. Every German word is a `Word`, and every English `Word` holds
the German words that it translates as its `sources`. The two sides are then put into order apart, each by the
rules of its language, and since the English words still hold their sources, the gold alignment is read off
the finished pair; nothing is aligned by hand or afterwards.

German order: the finite verb comes second in a statement (after the subject, or after an adjunct, an object
or a clause put in front), first in a yes-no question, last in a subordinate clause. Participle, infinitive
and separable particle close the clause. Between them stand, in this order: subject, pronouns, time, definite
objects (dative before accusative), "nicht" or an adverb, indefinite objects, company, manner, place,
complement (a goal, an object with a preposition, a predicate). English order: subject, auxiliary, "not" or
adverb, verb, direct object, "to" and indirect object, complement, manner, company, place, time.

What the English is, the German decides, so that a translation is right or wrong:
- Present becomes the simple present, perfect ("hat gesehen") the simple past ("saw").
- "kein" becomes "not ... a"; negation and questions bring do-support.
- "sie" is she or they by its verb; it is never an object, where it could be her or them.
- An object comes before its subject only where the forms tell which is which.

How words are linked:
- "saw" is linked to "hat" and "gesehen"; of "did not see", "did" is linked to "hat", "see" to "gesehen".
- "does" in "does not see" is linked to "sieht", as "see" is: the verb carries the tense.
- "calls" is linked to "ruft" and "an"; of "gets up", "gets" is linked to "steht" and "up" to "auf".
- A compound, and a contraction such as "im", is linked to each of its English words.
- "to" before an indirect object is linked to the word that shows the dative ("dem", "mir"); "to" after "want"
  and "have" to the modal.
- "not" and "a" are both linked to "kein"; "cannot" is linked to "kann" and to "nicht" or "kein".
- A comma is linked where English has one too: after a clause in front, and before "but". The other German
  commas have no link; every other word of either side has one.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import lexicon

SEED = 2014
TRAIN, VALID, TEST, LONG = 6000, 200, 300, 200
SHORTEST, LONGEST, LONGEST_OF_LONG = 3, 30, 60

# What a verb governs, and how often such a verb is chosen.
FRAMES = {
    "accusative": 42,
    "dative": 6,
    "both": 12,
    "preposition": 8,
    "nothing": 16,
    "goal": 8,
    "weather": 4,
    "predicate": 10,
}
THINGS = ("thing", "text", "food", "drink", "opening", "device")
ENGLISH_ORDER = ("accusative", "dative", "complement", "manner", "company", "place", "time")
# Determiners to choose among, each as often as it stands here.
KNOWN = ("d", "d", "d", "d", "mein", "unser")
ANY = (*KNOWN, "ein", "ein", "ein")


@dataclass(frozen=True, eq=False)
class Word:
    """A word of either side; one of the English side holds the German words that it translates."""

    text: str
    sources: tuple["Word", ...] = ()


Words = tuple[Word, ...]


@dataclass(frozen=True)
class Phrase:
    """A phrase in both languages, and what the rest of its clause has to know of it."""

    german: Words
    english: Words
    person: int = 3
    plural: bool = False
    clear: bool = False  # its form alone tells nominative from accusative
    standing: str = "definite"  # or "pronoun" or "indefinite": where an object stands in German


@dataclass(frozen=True)
class Content:
    """What a clause says, before either language puts it into order."""

    verb: lexicon.Verb
    subject: Phrase
    tense: str  # "present", "past", or the English of a modal
    negation: Word | None  # "nicht", or the "kein" of an object
    parts: dict[str, Phrase]  # all else, by the names of `ENGLISH_ORDER`, and "adverb"


def one(german: str, english: str) -> Phrase:
    """A German word, and the English words that are all linked to it."""
    word = Word(german)
    return Phrase((word,), tuple(Word(text, (word,)) for text in english.split()))


def fixed(german: str, english: str) -> Phrase:
    """A fixed phrase; the English words give the places of their German sources: "in:0 the:0 park:1"."""
    words = tuple(Word(text) for text in german.split())
    pairs = [pair.split(":") for pair in english.split()]
    return Phrase(words, tuple(Word(text, tuple(words[int(i)] for i in places)) for text, places in pairs))


def joined(*phrases: Phrase) -> Phrase:
    """The phrases one after another on both sides."""
    return Phrase(
        tuple(word for phrase in phrases for word in phrase.german),
        tuple(word for phrase in phrases for word in phrase.english),
    )


def pronoun(rng: Random, case: str, persons: Sequence[int] = (1, 3)) -> Phrase:
    """A personal pronoun of one of these persons."""
    row = rng.choice([row for row in lexicon.PRONOUNS if case in row[4] and row[2] in persons])
    subject_form, object_form, person, plural, forms = row
    phrase = one(forms[case], subject_form if case == "nominative" else object_form)
    return replace(phrase, person=person, plural=plural, clear=forms[case] != "sie", standing="pronoun")


def noun_phrase(
    rng: Random,
    case: str,
    kinds: Sequence[str],
    determiners: Sequence[str] = ANY,
    rich: float = 0.0,
    preposition: tuple[str, ...] = (),
    singular: bool = False,
) -> Phrase:
    """A determiner, perhaps an adjective (the richer, the likelier), a noun that may be a compound.

    A preposition is given in German and English.
    """
    noun = rng.choice([noun for noun in lexicon.NOUNS if set(noun.kinds) & set(kinds)])
    owners = ("mein", "unser") if "stranger" in noun.kinds else ()
    determiner = rng.choice([determiner for determiner in determiners if determiner not in owners])
    indefinite = determiner in ("ein", "kein")
    plural = bool(noun.plural) and not singular and not indefinite and rng.random() < 0.25
    column = 3 if plural else "mfn".index(noun.gender)
    ending = lexicon.ENDINGS[case][column]
    # Where a determiner has no ending ("ein Mann", "ein Kind"), the adjective shows the case.
    bare = determiner != "d" and (ending == "es" or (case, column) == ("nominative", 0))
    article = lexicon.ARTICLES[ending] if determiner == "d" else determiner + ("" if bare else ending)
    meaning = lexicon.DETERMINERS[determiner]

    phrases = [one(article, meaning)]
    if preposition:
        german, english = preposition
        if short := lexicon.CONTRACTIONS.get(f"{german} {article}"):
            phrases = [one(short, f"{english} {meaning}")]
        else:
            phrases = [one(german, english), *phrases]
    if rng.random() < 0.15 + 0.2 * rich:
        german, english, _ = rng.choice([row for row in lexicon.ADJECTIVES if row[2] & set(noun.kinds)])
        weak = "e" if not plural and (case == "nominative" or (case == "accusative" and column > 0)) else "en"
        phrases.append(one(german.removesuffix("e") + (ending if bare else weak), english))
    german, english = (noun.plural, noun.english_plural) if plural else (noun.german, noun.english)
    if case == "dative" and plural and not german.endswith(("n", "s")):
        german += "n"
    if noun.first_parts and rng.random() < 0.4:
        first = rng.choice(noun.first_parts)
        german, english = first + german.lower(), f"{lexicon.FIRST_PARTS[first]} {english}"
    phrases.append(one(german, english))

    phrase = joined(*phrases)
    texts = [word.text for word in phrase.english]
    if texts[0] == "a" and texts[1][0] in "aeiou":
        phrase = replace(phrase, english=(replace(phrase.english[0], text="an"), *phrase.english[1:]))
    return replace(phrase, plural=plural, clear=column == 0, standing="indefinite" if indefinite else "definite")


def a_subject(rng: Random, rich: float, kinds: Sequence[str]) -> Phrase:
    """A subject: a pronoun, a name or a noun phrase."""
    sort = rng.choices(("pronoun", "name", "noun"), (38, 9, 53))[0]
    if sort == "pronoun":
        return pronoun(rng, "nominative")
    if sort == "name":
        return one(*[rng.choice(lexicon.NAMES)] * 2)
    return noun_phrase(rng, "nominative", kinds, rich=rich)


def content(
    rng: Random,
    rich: float,
    frames: Sequence[str] = tuple(FRAMES),
    kinds: Sequence[str] = (),
    tense: str = "",
    subject: Phrase | None = None,
    accusative: Phrase | None = None,
) -> Content:
    """What a clause says: a verb with all that it governs, perhaps negated, with more adjuncts the richer.

    Where `kinds` are given, the verb is one that fits them; what else is given is kept.
    """
    frame = rng.choices(frames, [FRAMES.get(frame, 1) for frame in frames])[0]
    fitting = [verb for verb in lexicon.VERBS if not kinds or set(kinds) & set(verb.kinds)]
    verb = rng.choice([verb for verb in fitting if verb.frame == frame])
    tense = tense or rng.choices(("present", "past", "modal"), (38, 42, 20))[0]
    if frame in ("predicate", "weather") and tense == "modal":
        tense = "present"
    parts: dict[str, Phrase] = {}

    if frame == "predicate":
        kind = rng.choice(("person", "person", "person", "thing", "food", "weather", "place"))
        if kind in ("thing", "food", "place"):
            subject = noun_phrase(rng, "nominative", ["thing" if kind == "place" else kind], KNOWN)
        german, english, _ = rng.choice([row for row in lexicon.ADJECTIVES if kind in row[2]])
        parts["complement"] = a_place(rng, 0) if kind == "place" else one(german, english)
    if frame == "weather" or (frame == "predicate" and kind == "weather"):
        subject = one("es", "it")
    able = ("person", "animal") if frame in ("nothing", "goal") and "animal" in verb.kinds else ("person",)
    subject = subject or a_subject(rng, rich, able)
    # No pronoun that would have to be reflexive.
    others = (3,) if subject.person == 1 else (1, 3)
    negation = Word("nicht") if rng.random() < 0.2 else None

    if frame in ("dative", "both") and rng.random() < 0.35:
        parts["dative"] = pronoun(rng, "dative", others)
    elif frame in ("dative", "both"):
        parts["dative"] = noun_phrase(rng, "dative", ["person"], KNOWN, rich)
    if accusative:
        parts["accusative"] = accusative
    elif frame == "accusative" and "person" in verb.kinds and rng.random() < 0.3:
        parts["accusative"] = pronoun(rng, "accusative", others)
    elif negation and frame in ("accusative", "both") and rng.random() < 0.5:
        parts["accusative"] = noun_phrase(rng, "accusative", verb.kinds, ("kein",))
        negation = parts["accusative"].german[0]
    elif frame in ("accusative", "both"):
        # No "nicht" with an indefinite object: that is "kein".
        parts["accusative"] = noun_phrase(rng, "accusative", verb.kinds, KNOWN if negation else ANY, rich)
    if frame == "preposition":
        german, case, english = verb.preposition
        parts["complement"] = noun_phrase(rng, case, verb.kinds, KNOWN, rich, (german, english))
    if frame == "goal" and rng.random() < 0.75:
        case, words = rng.choice((("accusative", ("in", "into")), ("dative", ("zu", "to")), ("", ())))
        parts["complement"] = (
            noun_phrase(rng, case, ["place"], ("d",), rich, words, singular=True)
            if words
            else fixed("nach Hause", "home:01")
        )
    parts |= adjuncts(rng, rich, verb, tense, negation is not None)
    tense = rng.choice(tuple(lexicon.MODALS)) if tense == "modal" else tense
    return Content(verb, subject, tense, negation, parts)


def adjuncts(rng: Random, rich: float, verb: lexicon.Verb, tense: str, negated: bool) -> dict[str, Phrase]:
    """Adjuncts that go with the verb and its tense, by name."""
    found = {}
    if rng.random() < 0.3 + 0.35 * rich:
        german, english, _ = rng.choice([row for row in lexicon.TIMES if tense in row[2].split()])
        found["time"] = fixed(german, english)
    elif not negated and rng.random() < 0.15:
        found["adverb"] = one(*rng.choice(lexicon.ADVERBS))
    if "p" in verb.adjuncts and rng.random() < 0.2 + 0.3 * rich:
        found["place"] = a_place(rng, rich)
    if "c" in verb.adjuncts and rng.random() < 0.1 + 0.15 * rich:
        found["company"] = noun_phrase(rng, "dative", ["person"], KNOWN, 0, ("mit", "with"))
    if "m" in verb.adjuncts and rng.random() < 0.15 + 0.15 * rich:
        found["manner"] = one(*rng.choice(lexicon.MANNERS))
    return found


def a_place(rng: Random, rich: float) -> Phrase:
    """An adjunct of place."""
    if rng.random() < 0.12:
        return fixed("zu Hause", "at:0 home:1")
    preposition = rng.choice(lexicon.PLACES)
    return noun_phrase(rng, "dative", ["place"], ("d", "d", "d", "unser"), rich, preposition, singular=True)


def with_s(word: str) -> str:
    """An English verb with the -s of the third person."""
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return {"have": "has", "go": "goes"}.get(word, word + ("es" if word.endswith(("sh", "ch")) else "s"))


def verb_words(said: Content, split: bool, supported: bool) -> tuple[Word, Words, list[Word], list[Word]]:
    """The verb: the finite German word, those that close the clause; the English auxiliary if any, the rest.

    A particle stands apart where it is `split`; English has an auxiliary where negation or inversion ask for
    one (`supported`).
    """
    verb, subject, past = said.verb, said.subject, said.tense == "past"
    third = subject.person == 3 and not subject.plural
    tail: Words

    def agreeing(forms: Sequence[str]) -> Word:
        return Word(forms[2 if subject.plural else subject.person == 3])

    if verb.frame == "predicate":
        finite = agreeing(lexicon.WAR if past else lexicon.SEIN)
        form = ("was", "were") if past else ("am" if subject.person == 1 else "is", "are")
        return finite, (), [Word(form[subject.plural], (finite,))], []
    if past:
        finite, tail = agreeing(verb.auxiliary), (Word(verb.participle),)
        first, *rest = verb.english if supported else verb.past
        main = [Word(first, tail if supported else (finite, *tail)), *(Word(word, tail) for word in rest)]
        return finite, tail, [Word("did", (finite,))] if supported else [], main
    if said.tense == "present":
        finite, tail = agreeing(verb.present), (Word(verb.particle),) if split and verb.particle else ()
        if not tail:
            finite = Word(verb.particle + finite.text)
        # Of "gets up", each word is one of "steht auf"; "calls" is all of "ruft an".
        first, *rest = verb.english
        main = [Word(first, (finite,) if rest else (finite, *tail))]
        main += [Word(word, tail or (finite,)) for word in rest]
    else:
        finite, tail = agreeing(lexicon.MODALS[said.tense]), (Word(verb.particle + verb.infinitive),)
        modal = [Word(word, (finite,)) for word in said.tense.split()]
        main = [Word(word, tail) for word in verb.english]
        if len(modal) == 1:
            return finite, tail, modal, main
        main = modal + main
    if supported:
        return finite, tail, [Word("does" if third else "do", (finite,))], main
    if third:
        main[0] = replace(main[0], text=with_s(main[0].text))
    return finite, tail, [], main


def german_rank(named: tuple[str, Phrase]) -> int:
    """How far back a part stands among those that follow the German subject."""
    name, phrase = named
    if name in ("accusative", "dative"):
        return {"pronoun": 0, "definite": 2, "indefinite": 4}[phrase.standing]
    return {"time": 1, "adverb": 3, "company": 5, "manner": 6, "place": 7, "complement": 8}[name]


def arrange(said: Content, front: Phrase | None, order: str, leads: bool = False) -> Phrase:
    """The clause, put into the order of each language.

    `order` is "statement", "question" or "final" (verb at the end). `front` is what opens the clause in
    German; where it `leads`, it opens the English one too (question words, conjunctions,
    whole clauses).
    """
    subject, negation = said.subject, said.negation
    inverted = order == "question" and front is not subject
    finite, tail, helper, main = verb_words(said, order != "final", inverted or negation is not None)
    opening = front or joined()

    middle = {name: phrase for name, phrase in said.parts.items() if phrase is not front}
    if negation and negation.text == "nicht":
        middle["adverb"] = Phrase((negation,), ())
    german = joined(*(phrase for _, phrase in sorted(middle.items(), key=german_rank))).german
    german = (() if front is subject else subject.german) + german + tail
    german = (*opening.german, *german, finite) if order == "final" else (*opening.german, finite, *german)

    agent = [] if front is subject and leads else [*subject.english]
    nots = [Word("not", (negation,))] if negation else []
    if helper and helper[0].text == "can" and negation and not inverted:
        helper, nots = [Word("cannot", (finite, negation))], []
    english = [*(opening.english if leads else ()), *(helper + agent if inverted else agent + helper), *nots]
    english += [*(said.parts["adverb"].english if "adverb" in said.parts else ()), *main]
    for name in ENGLISH_ORDER:
        phrase = said.parts.get(name)
        if phrase and not (phrase is front and leads):
            if name == "dative" and said.verb.frame == "both":
                english.append(Word("to", phrase.german[:1]))
            english += phrase.english
    return Phrase(german, tuple(english))


def statement(rng: Random, said: Content) -> Phrase:
    """A main clause, often with something other than the subject in front."""
    fronts = [said.parts[name] for name in ("time", "place", "company") if name in said.parts]
    for name in ("accusative", "dative"):
        phrase = said.parts.get(name)
        clear = phrase and (name == "dative" or phrase.clear or said.subject.clear)
        if phrase and clear and phrase.standing == "definite":
            fronts.append(phrase)
    return arrange(said, rng.choice(fronts) if fronts and rng.random() < 0.7 else said.subject, "statement")


def block(rng: Random, rich: float) -> Phrase:
    """A main clause, perhaps with a subordinate clause before or after it."""
    sorts = {"plain": 1.6 - rich, "after": 0.4 * rich, "before": 0.3 * rich, "object": 0.4 * rich}
    sort = rng.choices(tuple(sorts), tuple(sorts.values()))[0]
    tense = rng.choice(("present", "past"))
    if sort == "plain":
        return statement(rng, content(rng, rich))
    if sort == "object":
        conjunction = rng.choice((("dass", "that"), ("dass", "that"), ("ob", "whether"), ("warum", "why")))
        main = content(rng, 0, ("that" if conjunction[1] == "that" else "whether",), tense=tense)
        tense = ""
    else:
        conjunction = rng.choice((("weil", "because"), ("obwohl", "although"), ("wenn", "if")))
        tense = "present" if conjunction[1] == "if" else tense
        main = content(rng, rich / 2, tense=rng.choice((tense, "modal")) if tense == "present" else tense)
    clause = arrange(content(rng, rich / 2, tense=tense), one(*conjunction), "final", leads=True)
    if sort == "before":
        return arrange(main, joined(clause, one(",", ",")), "statement", leads=True)
    return joined(statement(rng, main), one(",", ""), clause, one(",", ""))


def question(rng: Random, rich: float) -> Phrase:
    """A question, with or without a question word."""
    frames = [frame for frame in FRAMES if frame not in ("weather", "predicate")]
    sort = rng.choice(("whether", "whether", "whether", "who", "whom", "what", "when", "where", "why"))
    german = {"who": "wer", "whom": "wen", "what": "was", "when": "wann", "where": "wo", "why": "warum"}
    asked = one(german[sort], sort) if sort in german else None
    if sort == "who":
        said = content(rng, rich, frames, subject=asked)
    elif sort in ("whom", "what"):
        kinds = ("person",) if sort == "whom" else THINGS
        said = content(rng, rich, ("accusative",), kinds, accusative=asked)
    else:
        said = content(rng, rich, (*frames, "predicate"))
        said.parts.pop("adverb", None)
        said.parts.pop({"when": "time", "where": "place"}.get(sort, ""), None)
        if sort == "where" and said.verb.frame in ("goal", "predicate"):
            said.parts.pop("complement", None)
        if sort in ("when", "where") and said.negation and said.negation.text == "nicht":
            said = replace(said, negation=None)
    return arrange(said, asked, "question", leads=True)


def repeats(phrase: Phrase) -> bool:
    """Whether a noun or a name comes twice, as it hardly does within a sentence of real text."""
    nouns = [word.text for word in phrase.german if word.text[0].isupper()]
    return len(set(nouns)) < len(nouns)


def sentence(rng: Random, blocks: int, rich: float) -> Phrase:
    """A whole sentence: a question, or so many blocks joined by "und" and "aber"."""
    if blocks == 1 and rng.random() < 0.22:
        return joined(question(rng, rich), one("?", "?"))
    phrases: list[Phrase] = []
    while len(phrases) < 2 * blocks:
        following = block(rng, rich)
        if not repeats(following):
            but = joined(one(",", ","), one("aber", "but"))
            phrases += [but if rng.random() < 0.4 else one("und", "and"), following]
    return joined(*phrases[1:], one(".", "."))


@dataclass(frozen=True)
class Pair:
    """A finished pair of sentences."""

    german: str
    english: str
    links: list[tuple[int, int]]  # places of German and English words, from 0, in order
    lengths: tuple[int, int]


def as_text(words: Sequence[Word]) -> str:
    """The words as text: punctuation attached, the first letter a capital."""
    text = re.sub(r" ([,.?])", r"\1", " ".join(word.text for word in words))
    return text[0].upper() + text[1:]


def finish(phrase: Phrase) -> Pair:
    """The pair as text, and its links as places of words."""
    # A clause sets its commas without knowing its neighbours; one before another mark is not written.
    following = [*phrase.german[1:], Word("")]
    german = [
        word
        for word, after in zip(phrase.german, following, strict=True)
        if word.text != "," or after.text not in (",", ".", "?")
    ]
    places = {word: place for place, word in enumerate(german)}
    links = [(places[source], place) for place, word in enumerate(phrase.english) for source in word.sources]
    return Pair(as_text(german), as_text(phrase.english), sorted(links), (len(german), len(phrase.english)))


def pairs(rng: Random, long: bool) -> Iterator[Pair]:
    """Pairs without end, no German sentence twice."""
    seen: dict[str, str] = {}
    low, high = (LONGEST + 1, LONGEST_OF_LONG) if long else (SHORTEST, LONGEST)
    while True:
        blocks = rng.randint(2, 5) if long else rng.choices((1, 2, 3), (95, 4, 1))[0]
        rich = rng.choice((0.5, 0.9)) if long else rng.choices((0, 0.5, 1), (62, 32, 6))[0]
        phrase = sentence(rng, blocks, rich)
        pair = finish(phrase)
        if pair.german in seen:
            assert seen[pair.german] == pair.english, f"two translations of {pair.german!r}"
        elif low <= pair.lengths[0] <= high and pair.lengths[1] <= high and (long or not repeats(phrase)):
            seen[pair.german] = pair.english
            yield pair


def write(folder: Path, name: str, chosen: Sequence[Pair], gold: bool) -> None:
    """Writes a set's German and English, and its gold alignment if asked."""
    columns = {"de": [pair.german for pair in chosen], "en": [pair.english for pair in chosen]}
    if gold:
        columns["gold"] = [" ".join(f"{source}-{target}" for source, target in pair.links) for pair in chosen]
    for suffix, lines in columns.items():
        (folder / f"{name}.{suffix}").write_bytes("".join(f"{line}\n" for line in lines).encode())


def main() -> None:
    """Writes the corpus beside this program, or where the command line says."""
    parser = argparse.ArgumentParser(description="Make the toy corpus.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    source = pairs(Random(SEED), long=False)
    for name, count in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write(folder, name, list(islice(source, count)), gold=name == "test")
    write(folder, "long", list(islice(pairs(Random(SEED + 1), long=True), LONG)), gold=True)


if __name__ == "__main__":
    main()

"""The words of the toy corpus: German with its English, and what the grammar has to know of each.

The tables are text, one entry a line, so that they can be read and added to; below each stands what it
becomes. A dash is an empty cell.
"""

from dataclasses import dataclass


def rows(table: str, columns: int) -> list[list[str]]:
    """The lines of a table, split into cells; cells that a line lacks, and dashes, are empty."""
    lines = [[cell.replace("-", "") for cell in line.split()] for line in table.strip().split("\n")]
    return [line + [""] * (columns - len(line)) for line in lines]


@dataclass(frozen=True)
class Noun:
    """A noun: its forms, of which kinds it is, the first parts of the compounds that it closes."""

    german: str
    gender: str
    plural: str
    english: str
    english_plural: str
    kinds: tuple[str, ...]
    first_parts: tuple[str, ...]


# German, gender, plural, English (with its plural where that is irregular), kinds, first parts of compounds.
# A "stranger" takes no possessive: "seine Frau" would be his wife.
NOUN_TABLE = """
Mann      m Männer       man/men        person,stranger
Lehrer    m Lehrer       teacher        person          Musik,Sport
Arzt      m Ärzte        doctor         person
Bruder    m Brüder       brother        person
Freund    m Freunde      friend         person          Schul
Vater     m -            father         person
Frau      f Frauen       woman/women    person,stranger
Schwester f Schwestern   sister         person
Mutter    f -            mother         person
Kind      n Kinder       child/children person          Schul
Mädchen   n Mädchen      girl           person,stranger
Hund      m Hunde        dog            animal
Katze     f Katzen       cat            animal
Brief     m Briefe       letter         text
Zeitung   f Zeitungen    newspaper      text            Sport,Schul
Buch      n Bücher       book           text            Schul,Musik,Garten
Apfel     m Äpfel        apple          food
Kuchen    m Kuchen       cake           food            Apfel,Kartoffel
Suppe     f Suppen       soup           food            Tomaten,Kartoffel
Kaffee    m -            coffee         drink
Saft      m Säfte        juice          drink           Apfel,Tomaten
Schlüssel m Schlüssel    key            thing           Haus,Keller,Haustür,Kellertür
Tasche    f Taschen      bag            thing           Schul,Sport
Tisch     m Tische       table          thing,device    Küchen,Garten
Stuhl     m Stühle       chair          thing,device    Küchen,Garten
Lampe     f Lampen       lamp           thing,device    Küchen,Keller,Garten
Fahrrad   n Fahrräder    bicycle        thing,device
Schrank   m Schränke     cupboard       opening,device  Küchen,Keller
Tür       f Türen        door           opening,device  Haus,Keller,Garten
Fenster   n Fenster      window         opening,device  Küchen,Keller
Garten    m Gärten       garden         place           Schul
Park      m Parks        park           place
Küche     f Küchen       kitchen        place           Schul
Stadt     f Städte       city/cities    place
Schule    f Schulen      school         place           Musik
Haus      n Häuser       house          place           Garten
"""


def read_noun(row: list[str]) -> Noun:
    """The noun of a line."""
    german, gender, plural, english, kinds, first_parts = row
    english, _, english_plural = english.partition("/")
    english_plural = english_plural or (english + "es" if english.endswith(("ch", "x")) else english + "s")
    parts = tuple(first_parts.split(",")) if first_parts else ()
    return Noun(german, gender, plural, english, english_plural, tuple(kinds.split(",")), parts)


NOUNS = [read_noun(row) for row in rows(NOUN_TABLE, 6)]

FIRST_PARTS = {
    "Haus": "house",
    "Keller": "cellar",
    "Küchen": "kitchen",
    "Garten": "garden",
    "Schul": "school",
    "Musik": "music",
    "Sport": "sports",
    "Apfel": "apple",
    "Kartoffel": "potato",
    "Tomaten": "tomato",
    "Haustür": "house door",
    "Kellertür": "cellar door",
}

# German, English, the kinds of noun that it may stand with ("weather": "es ist kalt").
ADJECTIVE_TABLE = """
alt         old         person,animal,thing,text,opening,place
klein       small       person,animal,thing,opening,place
jung        young       person,animal
müde        tired       person,animal
krank       sick        person,animal
glücklich   happy       person
groß        big         animal,thing,opening,place
schön       beautiful   animal,thing,place
neu         new         thing,text,opening,place
rot         red         thing,opening
kaputt      broken      device
gut         good        text,food,drink
warm        warm        food,drink,weather
kalt        cold        food,drink,weather
dunkel      dark        weather
"""
ADJECTIVES = [(german, english, set(kinds.split(","))) for german, english, kinds in rows(ADJECTIVE_TABLE, 3)]


@dataclass(frozen=True)
class Verb:
    """A verb: its forms, what it governs, of which kinds, and the adjuncts that it allows."""

    particle: str
    infinitive: str  # without the particle
    present: tuple[str, ...]  # ich, er, wir
    participle: str
    auxiliary: tuple[str, ...]
    english: tuple[str, ...]
    past: tuple[str, ...]
    frame: str
    preposition: tuple[str, ...]  # German, its case, English
    kinds: tuple[str, ...]
    adjuncts: str


HABEN, SEIN, WAR = (
    ("habe", "hat", "haben"),
    ("bin", "ist", "sind"),
    ("war", "war", "waren"),
)
MODALS = {
    "can": ("kann", "kann", "können"),
    "should": ("soll", "soll", "sollen"),
    "want to": ("will", "will", "wollen"),
    "have to": ("muss", "muss", "müssen"),
}

# Infinitive (a separable particle before "|"), third person (or first and third), participle (a star:
# with "sein"), English, past, what it governs, the kinds of its object (of its subject, where it governs
# nothing), adjuncts (place, company, manner).
VERB_TABLE = """
sehen         sieht      gesehen       see        saw        accusative person,animal,thing       pc
suchen        sucht      gesucht       look_for   looked_for accusative person,animal,thing,text  pcm
finden        findet     gefunden      find       found      accusative person,animal,thing,text  p
besuchen      besucht    besucht       visit      visited    accusative person                    c
fragen        fragt      gefragt       ask        asked      accusative person                    p
an|rufen      ruft       angerufen     call       called     accusative person                    p
ein|laden     lädt       eingeladen    invite     invited    accusative person                    pc
verstehen     versteht   verstanden    understand understood accusative person,text
kaufen        kauft      gekauft       buy        bought     accusative animal,thing,text,food    pc
verkaufen     verkauft   verkauft      sell       sold       accusative animal,thing,text,food    p
lesen         liest      gelesen       read       read       accusative text                      pcm
essen         isst       gegessen      eat        ate        accusative food                      pcm
trinken       trinkt     getrunken     drink      drank      accusative drink                     pcm
auf|machen    macht      aufgemacht    open       opened     accusative opening                   m
zu|machen     macht      zugemacht     close      closed     accusative opening                   m
reparieren    repariert  repariert     repair     repaired   accusative device                    pcm
brauchen      braucht    gebraucht     need       needed     accusative thing,text,drink
mit|bringen   bringt     mitgebracht   bring      brought    accusative thing,text,food
helfen        hilft      geholfen      help       helped     dative     person                    p
zu|hören      hört       zugehört      listen_to  listened_to dative    person                    p
geben         gibt       gegeben       give       gave       both       animal,thing,text,food,drink p
zeigen        zeigt      gezeigt       show       showed     both       animal,thing,text,opening p
schicken      schickt    geschickt     send       sent       both       thing,text
warten        wartet     gewartet      wait       waited     preposition:auf:accusative:for person    p
sprechen      spricht    gesprochen    speak      spoke      preposition:mit:dative:with person       pm
schlafen      schläft    geschlafen    sleep      slept      nothing    animal                    p
arbeiten      arbeitet   gearbeitet    work       worked     nothing    -                         pcm
singen        singt      gesungen      sing       sang       nothing    -                         pcm
spielen       spielt     gespielt      play       played     nothing    animal                    pcm
ein|kaufen    kauft      eingekauft    shop       shopped    nothing    -                         pc
auf|stehen    steht      aufgestanden* get_up     got_up     nothing    animal                    m
auf|wachen    wacht      aufgewacht*   wake_up    woke_up    nothing    animal                    p
an|kommen     kommt      angekommen*   arrive     arrived    nothing    -                         pc
gehen         geht       gegangen*     go         went       goal       -                         cm
laufen        läuft      gelaufen*     run        ran        goal       animal                    cm
kommen        kommt      gekommen*     come       came       goal       animal                    cm
regnen        regnet     geregnet      rain       rained     weather
schneien      schneit    geschneit     snow       snowed     weather
sagen         sagt       gesagt        say        said       that
glauben       glaubt     geglaubt      believe    believed   that
wissen        weiß/weiß gewusst  know       knew       that
wissen        weiß/weiß gewusst  know       knew       whether
fragen        fragt      gefragt       ask        asked      whether
sein          bin/ist -           be         -          predicate
"""


def read_verb(row: list[str]) -> Verb:
    """The verb of a line; ich and wir follow from the infinitive."""
    infinitive, third, participle, english, past, frame, kinds, adjuncts = row
    particle, _, stem = infinitive.rpartition("|")
    first, third = third.split("/") if "/" in third else (stem[:-1], third)
    frame, *preposition = frame.split(":")
    auxiliary = SEIN if participle.endswith("*") else HABEN
    return Verb(
        particle,
        stem,
        (first, third, stem),
        participle.rstrip("*"),
        auxiliary,
        tuple(english.split("_")),
        tuple(past.split("_")),
        frame,
        tuple(preposition),
        tuple(kinds.split(",")),
        adjuncts,
    )


VERBS = [read_verb(row) for row in rows(VERB_TABLE, 8)]

# German, English with the place of each word's German source, the tenses that it goes with.
TIMES = (
    ("heute", "today:0", "present past modal"),
    ("gestern", "yesterday:0", "past"),
    ("jetzt", "now:0", "present modal"),
    ("bald", "soon:0", "modal"),
    ("am Abend", "in:0 the:0 evening:1", "present past modal"),
    ("am Morgen", "in:0 the:0 morning:1", "present past modal"),
    ("am Montag", "on:0 Monday:1", "past modal"),
    ("am Sonntag", "on:0 Sunday:1", "past modal"),
    ("letzte Woche", "last:0 week:1", "past"),
    ("nach dem Essen", "after:0 the:1 meal:2", "present past modal"),
)
MANNERS = (("schnell", "quickly"), ("langsam", "slowly"), ("leise", "quietly"), ("vorsichtig", "carefully"))
ADVERBS = (("oft", "often"), ("immer", "always"), ("nie", "never"))
PLACES = (("in", "in"), ("in", "in"), ("in", "in"), ("vor", "in front of"), ("hinter", "behind"), ("neben", "next to"))
CONTRACTIONS = {"in dem": "im", "in das": "ins", "zu dem": "zum", "zu der": "zur"}
NAMES = ("Anna", "Maria", "Paul", "Jonas")
# English subject and object, person, plural or not; German by case. "sie" is no object: her or them?
PRONOUNS = (
    ("I", "me", 1, False, {"nominative": "ich", "accusative": "mich", "dative": "mir"}),
    ("he", "him", 3, False, {"nominative": "er", "accusative": "ihn", "dative": "ihm"}),
    ("she", "her", 3, False, {"nominative": "sie", "dative": "ihr"}),
    ("we", "us", 1, True, {"nominative": "wir", "accusative": "uns", "dative": "uns"}),
    ("they", "them", 3, True, {"nominative": "sie"}),
)
# Strong endings in the order masculine, feminine, neuter, plural.
ENDINGS = {
    "nominative": ("er", "e", "es", "e"),
    "accusative": ("en", "e", "es", "e"),
    "dative": ("em", "er", "em", "en"),
}
ARTICLES = {"er": "der", "e": "die", "es": "das", "en": "den", "em": "dem"}
DETERMINERS = {"d": "the", "ein": "a", "kein": "a", "mein": "my", "unser": "our"}

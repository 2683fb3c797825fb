import csv
import json
from pathlib import Path

import numpy as np
import pytest

from score_validator.app import create_app
from score_validator.encoder import Tokens
from score_validator.language import EnglishOnly
from score_validator.matching import Embedded
from score_validator.readability import REPETITION_LIMIT, dropped_share, repeated_share, unknown_share
from score_validator.scorer import EncoderScorer, Scored, Unscorable, load_scorer
from score_validator.settings import ScorerSettings

ROOT = Path(__file__).parents[3]
DATA = ROOT / "studies" / "threshold" / "data"
ENCODER = ScorerSettings().scorer_encoder_folder

ENGLISH = "The sky is blue because air scatters blue light more than red light."
OTHER = {
    "Chinese": "天空是蓝色的,因为空气散射蓝光。",
    "Japanese": "空が青いのは光の散乱のためです。",
    "Korean": "하늘이 파란 것은 공기가 파란 빛을 산란시키기 때문입니다.",
    "Thai": "ท้องฟ้าเป็นสีฟ้าเพราะอากาศกระเจิงแสงสีฟ้า",
    "Arabic": "السماء زرقاء لأن الهواء يشتت الضوء الأزرق",
    "Hebrew": "השמיים כחולים כי האוויר מפזר אור כחול",
    "Hindi": "आकाश नीला है क्योंकि हवा नीली रोशनी को बिखेरती है।",
    "Russian": "Небо голубое из-за рассеяния света.",  # noqa: RUF001
    "Greek": "Ο ουρανός είναι μπλε επειδή ο αέρας σκεδάζει το μπλε φως.",  # noqa: RUF001
    "Spanish": "El cielo es azul porque el aire dispersa la luz azul más que la roja.",
    "French": "Le ciel est bleu car l'air diffuse la lumière bleue plus que la rouge.",
    "German": "Der Himmel ist blau, weil die Luft blaues Licht viel stärker streut als rotes.",
    "Italian": "Il cielo è blu perché l'aria diffonde la luce blu più di quella rossa.",
    "Portuguese": "O céu é azul porque o ar espalha a luz azul mais do que a vermelha.",
    "Dutch": "De lucht is blauw omdat lucht blauw licht meer verstrooit dan rood licht.",
    "Polish": "Niebo jest niebieskie, ponieważ powietrze rozprasza niebieskie światło.",
    "Vietnamese": "Bầu trời có màu xanh vì không khí tán xạ ánh sáng xanh.",
    "Indonesian": "Langit berwarna biru karena udara menghamburkan cahaya biru.",
    "Swahili": "Anga ni bluu kwa sababu hewa hutawanya mwanga wa bluu.",
}
SHORT = [
    "H2O",
    "Canberra",
    "42",
    "no",
    "π ≈ 3.14159",
    "E = mc²",
    "∫ x² dx = x³/3 + C",
    "x = (-b ± √(b² - 4ac)) / 2a",
    "ΔG = ΔH - TΔS, 5 µm, 10 Ω",
    "C₆H₁₂O₆",
    "Fe₂O₃ + 3CO → 2Fe + 3CO₂",
    "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144",
    "Reykjavík",
    "Johann Wolfgang von Goethe",
    "Gabriel García Márquez",
    "Pablo Diego José Francisco de Paula Juan Nepomuceno María de los Remedios Cipriano de la Santísima Trinidad Ruiz",
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch",
    "Dostoevsky, Tolstoy, Chekhov, Pushkin and Gogol",
    "Quercus robur, Fagus sylvatica, Betula pendula",
    "Crème brûlée, tarte tatin, mousse au chocolat",
    "sushi, sashimi, tempura, udon",
    "In Spanish, 'thank you' is 'gracias'.",
    "The Russian word for yes is да.",
    "print('hello')  # a comment",
    "def f(x):\n    return [i**2 for i in range(x) if i % 2 == 0]",
    "SELECT name, count(*) FROM users WHERE age > 18 GROUP BY name ORDER BY 2 DESC;",
    "for (int i = 0; i < n; i++) { sum += a[i]; }",
    "docker compose up --detach --wait && docker ps --all",
    '{"name": "Ada", "age": 36, "languages": ["en", "fr"]}',
    "ATGCGTACGTTAGC",
    "☀️ The sun is hot.",
]


def labelled():
    with (DATA / "labelled.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def attempts():
    return [
        json.loads(line)
        for line in (ROOT / "studies/answers/data/smollm2-135m-instruct.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def recorded():
    rows = labelled() + attempts()
    texts = {row["original_answer"] for row in rows}
    return sorted(texts | {row.get("answer") or row.get("llm_response") or "" for row in rows})


@pytest.fixture(scope="module")
def languages():
    return EnglishOnly()


@pytest.mark.parametrize("language", OTHER)
def test_a_sentence_of_another_language_is_recognised(languages, language):
    assert languages.is_other(OTHER[language])


def test_no_recorded_answer_or_reference_is_in_another_language(languages):
    assert [text for text in recorded() if languages.is_other(text)] == []


@pytest.mark.parametrize("text", [*SHORT, "", "😍🔥", "?!"])
def test_names_formulas_and_code_are_not_in_another_language(languages, text):
    assert not languages.is_other(text)


@pytest.mark.parametrize("text", ["Да", "はい", "नहीं", "ใช่", "不是"])
def test_a_word_of_another_script_is_recognised(languages, text):
    assert languages.is_other(text)


def test_a_short_text_in_the_latin_script_is_not_judged(languages):
    assert not languages.is_other("Sí, por supuesto.")


def test_the_share_of_unknown_tokens_leaves_out_special_tokens():
    assert unknown_share([101, 100, 7, 8, 100, 102], unknown=100, special={101, 102, 100}) == 0.5
    assert unknown_share([101, 102], unknown=100, special={101, 102}) == 0
    assert unknown_share([101, 7, 102], unknown=None, special={101, 102}) == 0


def test_dropped_characters_are_private_unassigned_control_and_replaced_ones():
    assert dropped_share("ab\ue000\x01\ufffd \n") == 0.6
    assert dropped_share("e\u0301tude 👩\u200d👧 \u202eabc") == 0
    assert dropped_share("") == 0


def test_the_share_of_repeated_ngrams():
    assert repeated_share([101, 1, 2, 3, 4, 1, 2, 3, 4, 102], {101, 102}) == pytest.approx(0.2)
    assert repeated_share([1, 2, 3]) == 0


class Words:
    """An encoder of words: equal words have equal vectors, and words that are not in ASCII are one unknown word."""

    name, layer = "fake/words", 1

    def __init__(self):
        self.known = {"?": 0}
        self.embedded = 0

    def tokens(self, texts):
        made = []
        for text in texts:
            ids = [self.known.setdefault(word, len(self.known)) if word.isascii() else 0 for word in text.split()]
            made.append(
                Tokens(
                    np.array(ids, dtype=np.int64),
                    truncated=len(ids) > 512,
                    unknown=unknown_share(ids, 0, ()),
                    repeated=repeated_share(ids),
                )
            )
        return made

    def has_words(self, ids):
        return bool(len(ids))

    def embed(self, texts):
        self.embedded += len(texts)
        return [
            Embedded(np.eye(1024, dtype=np.float32)[ids % 1024], np.ones(len(ids), dtype=np.float32)) for ids in texts
        ]


@pytest.fixture
def scorer(languages):
    return EncoderScorer(Words(), 0.0, 0, languages)


def test_texts_of_unknown_tokens_have_no_score(scorer):
    [unread] = scorer.score([("😍🔥", "🍌🍌")])
    assert unread == Unscorable("unknown_tokens", ("candidate", "reference"))
    assert scorer._encoder.embedded == 0


@pytest.mark.parametrize("language", ["Thai", "Chinese", "Spanish"])
def test_an_answer_in_another_language_has_no_score(scorer, language):
    [unread] = scorer.score([(OTHER[language], ENGLISH)])
    assert unread == Unscorable("other_language", ("candidate",))


def test_a_reference_in_another_language_has_no_score(scorer):
    [unread, scored] = scorer.score([(ENGLISH, OTHER["German"]), (ENGLISH, ENGLISH)])
    assert unread == Unscorable("other_language", ("reference",))
    assert scored.f1 == pytest.approx(1)


@pytest.mark.parametrize(
    ("references", "index", "unreadable"),
    [
        ([OTHER["German"], ENGLISH], 1, []),
        (["😍🔥", "It is.", ENGLISH], 2, []),
        ([OTHER["Thai"], "😍🔥"], None, ["reference"]),
    ],
)
def test_references_that_the_encoder_cannot_read_are_left_out(scorer, references, index, unreadable):
    client = create_app(ScorerSettings(), scorer).test_client()
    answer = client.post("/score", json={"candidate": ENGLISH, "references": references}).get_json()
    assert (answer["reference_index"], answer["unscorable_fields"]) == (index, unreadable)
    assert answer["score"] == (None if unreadable else pytest.approx(1))


def test_an_encoder_of_any_language_scores_other_languages():
    [scored, unread] = EncoderScorer(Words(), 0.0, 0).score([("El cielo es azul.", "El cielo es azul."), ("😍", "🔥")])
    assert isinstance(scored, Scored)
    assert unread.reason == "unknown_tokens"


def test_a_right_answer_repeated_twenty_times_has_a_warning(scorer):
    once, twenty = scorer.score([(ENGLISH, ENGLISH), (" ".join([ENGLISH] * 20), ENGLISH)])
    assert once.warnings == ()
    assert twenty.warnings == ("repetition",)


def test_a_long_answer_has_a_warning(scorer):
    long = " ".join(f"word{number}" for number in range(600))
    assert scorer.score([(long, ENGLISH)])[0].warnings == ("truncated",)


def test_written_answers_do_not_repeat_themselves():
    words = Words()
    written = [row["answer"] for row in labelled() if row["label"] in ("good", "partly", "wrong", "off_topic")]
    written += [row["original_answer"] for row in labelled() + attempts()]
    assert max(tokens.repeated for tokens in words.tokens(written)) < REPETITION_LIMIT / 3


needs_encoder = pytest.mark.skipif(
    not ENCODER.is_dir(), reason=f"no encoder in {ENCODER}: SCORER_ENCODER_FOLDER names another folder"
)


@needs_encoder
def test_the_embedded_encoder_reads_every_recorded_text_and_no_emoji():
    embedded = load_scorer(ScorerSettings())
    texts = [text for text in recorded() if text.strip()]
    readable = embedded.score([(text, ENGLISH) for text in [*texts, *SHORT]])
    assert [text for text, each in zip([*texts, *SHORT], readable, strict=True) if isinstance(each, Unscorable)] == []
    unread = embedded.score([("😍🔥", "🍌🍌"), (OTHER["Thai"], ENGLISH), (OTHER["Chinese"], ENGLISH)])
    assert [each.reason for each in unread] == ["unknown_tokens", "other_language", "other_language"]


@needs_encoder
def test_the_embedded_encoder_warns_of_few_recorded_answers():
    embedded = load_scorer(ScorerSettings())
    scored = embedded.score([(row["llm_response"], row["original_answer"]) for row in attempts()])
    assert sum("repetition" in each.warnings for each in scored) == 1
    assert embedded.score([(" ".join([ENGLISH] * 20), ENGLISH)])[0].warnings == ("repetition",)

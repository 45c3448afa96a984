"""Scripts and languages of short texts are told; what is neither stays unknown."""

import pytest

from moescope.analysis.data.languages import COMMON_WORDS, language_of, script_of

TEXTS = {
    "English": "It was the best of times, it was the worst of times, and that is not all of it.",
    "German": "Das ist nicht der Weg, den die Leute mit dem Wagen auf der Strasse nehmen.",
    "French": "Il est une heure et les gens ne sont pas dans la rue pour le plaisir de la marche.",
    "Spanish": "En un lugar de la Mancha, que no es el de los otros, se vive con una paz y por.",
    "Italian": "Il libro che non è di una persona sola, ma della gente, è più bello per tutti.",
    "Dutch": "Het is een mooie dag en de mensen zijn niet op het werk, dat is voor morgen.",
    "Swedish": "Det är en dag som är till för att vila och inte för att arbeta på, tror jag.",
    "Polish": "Nie wiem, co to jest, ale w domu na górze i w ogrodzie się z tego cieszą, że jest.",
}


@pytest.mark.parametrize(("language", "text"), TEXTS.items())
def test_languages_are_guessed(language: str, text: str) -> None:
    assert language_of(text) == language
    assert language_of(text.upper()) == language
    assert script_of(text) == "Latin"


@pytest.mark.parametrize(
    ("text", "script"),
    [("Это русский текст", "Cyrillic"), ("これは", "Hiragana"), ("1 + 1", "unknown")],
)
def test_other_scripts_name_themselves(text: str, script: str) -> None:
    assert script_of(text) == script
    assert language_of(text) == script


def test_code_and_short_texts_are_unknown() -> None:
    assert language_of("def f(x): return np.sum(x) ** 2") == "unknown"
    assert language_of("the cat") == "unknown"
    assert all(len(words.split()) >= 14 for words in COMMON_WORDS.values())

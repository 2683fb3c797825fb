"""Recognises texts that are not English, with the model of py3langid; offline."""

from typing import Any

from score_validator.readability import in_other_script, is_other_language, words_to_judge


class EnglishOnly:
    """Finds texts in other languages; takes 80 MB and 0.4 ms a text."""

    def __init__(self) -> None:
        """Loads the model, which is in the package."""
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def is_other(self, text: str) -> bool:
        """Returns whether a text is in another language. Texts that are too short to tell are not."""
        if in_other_script(text):
            return True
        words = words_to_judge(text)
        return words is not None and is_other_language(dict(self._identifier.rank(words)))

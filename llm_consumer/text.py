"""What is done to a text that comes from a provider. Pure."""

import re
from dataclasses import dataclass

_NAME = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_OPEN = (
    rf"<\s*{_NAME}(?:\s[^<>]*)?(?<!/)>"  # DeepSeek, Qwen and most others; <seed:think>, and with attributes
    rf"|<\|(?:begin_of_|start_)?{_NAME}\|>"  # OpenThinker, Command A
    rf"|<\|channel>{_NAME}\b|\[(?-i:THINK)\]|◁think▷"  # Gemma 4, Magistral, Kimi
)
_CLOSE = (
    rf"<\s*/\s*{_NAME}\s*>"
    rf"|<\|(?:end_of_|end_|/){_NAME}\|>"
    r"|<channel\|>|\[/(?-i:THINK)\]|◁/think▷"
)
_TAG = re.compile(
    rf"(?P<line>^[ \t]*)?(?:(?P<open>{_OPEN})|(?P<close>{_CLOSE}))|(?P<fence>```)", re.IGNORECASE | re.MULTILINE
)
_SENTENCE_GOES_ON = re.compile(r"[ \t]+[a-z]|[ \t]*[,.;:!?)\"'`]")

_CHANNELS = re.compile(
    r"\s*<\|(?:start|channel|message)\|>|[^<]*+(?:<(?!\|)[^<]*+)*(?<!`)<\|end\|>\s*<\|start\|>assistant"
)
"""The text starts with a mark, or with thoughts whose own mark stood in the prompt.

No possessive quantifier stands behind a group: before Python 3.11.5 it may match too much (python/cpython#100061).
"""
_CHANNEL = re.compile(
    r"(?:<\|start\|>[^<]*+)?(?:<\|channel\|>\s*+(?P<name>\w++)[^<]*+)?(?:<\|constrain\|>[^<]*+)?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>")
_BARE_CHANNELS = re.compile(
    r"\s*(?:(?:analysis|commentary)(?P<thoughts>.*?))?assistant\n*final(?P<answer>.*)", re.DOTALL
)
_BARE_ANALYSIS = re.compile(r"\s*analysis(?=[^\W\d_a-z])")
"""The word, and then at once a capital, or a letter of another script."""

_ANSWER_BEGINS = re.compile(r"<(?:final_)?answer>|<\|(?:begin_of_solution|start_response|start_text)\|>", re.IGNORECASE)
_ANSWER_ENDS = re.compile(
    r"(?:</(?:final_)?answer>|<\|(?:end_of_solution|end_response|end_text|end|return|im_end)\|>)\Z", re.IGNORECASE
)


@dataclass(frozen=True)
class Separated:
    """What a model said, and what it thought.

    Attributes:
        answer: Without the thoughts; empty if there is none.
        thoughts: Without their tags; empty if there are none.
        still_thinking: The text ends in the midst of a thought.
    """

    answer: str
    thoughts: str = ""
    still_thinking: bool = False


def separate_thoughts(text: str, cut: bool = False) -> Separated:
    """Takes the thoughts out of a text, in which servers without a parser for the model leave them.

    Tags count where models write them: a block starts the text or a line, and a closing tag alone ends thoughts whose
    opening tag stood in the prompt. Tags in code, or of which a sentence speaks, are part of the answer. The work grows
    with the length of the text alone, whatever is in it.

    Args:
        text: All that the model wrote.
        cut: It ran out of tokens, so that a block without an end may stand after an answer.
    """
    return _by_channels(text) or _by_tags(text, cut)


def _by_channels(text: str) -> Separated | None:
    """Reads the format of gpt-oss (https://cookbook.openai.com/articles/openai-harmony); None if it is not this.

    Some servers drop its marks and leave the words: `analysis…assistantfinal…` (Augustas11/macprovider#743).
    """
    if not _CHANNELS.match(text):
        if bare := _BARE_CHANNELS.match(text):
            return _separated([bare["answer"]], [bare["thoughts"] or ""], False)
        bare = _BARE_ANALYSIS.match(text)
        return _separated([], [text[bare.end() :]], True) if bare else None
    answer: list[str] = []
    thoughts: list[str] = []
    into, start = thoughts, 0
    for header in _CHANNEL.finditer(text):
        into.append(text[start : header.start()])
        into, start = (answer if (header["name"] or "final").lower() == "final" else thoughts), header.end()
    into.append(text[start:])
    return _separated(
        [_CHANNEL_END.sub("", each) for each in answer], [_CHANNEL_END.sub("", each) for each in thoughts], not answer
    )


def _by_tags(text: str, cut: bool) -> Separated:
    answer: list[str] = []
    thoughts: list[str] = []
    block: re.Match[str] | None = None  # the tag that opened the block in which the scan is
    spoken_of: int | None = None  # where a tag ended that opens no block
    start = seen = fences = 0
    fences_left = text.count("```")
    for tag in _TAG.finditer(text):
        fences_left -= bool(tag["fence"])
        if block:
            if tag["close"] and not _quoted(text, tag):
                thoughts.append(text[start : tag.start()])
                block, spoken_of, start, fences = None, None, tag.end(), 0
        elif tag["fence"]:
            fences += 1
        elif tag["open"]:
            follows = seen == start and not text[start : tag.start()].strip()
            if fences % 2 == 0 and (tag["line"] is not None or follows):
                answer.append(text[start : tag.start()])
                block, start = tag, tag.end()
            else:
                spoken_of = tag.end()
        elif spoken_of is not None and (fences % 2 or "\n" not in text[spoken_of : tag.start()]):
            spoken_of = None  # the other half of a pair that is spoken of
        elif not (fences % 2 and fences_left % 2) and not _spoken_of(text, tag):
            thoughts += [*answer, text[start : tag.start()]]
            answer, spoken_of, start, fences = [], None, tag.end(), 0
        seen = tag.end()
    if block and (cut or not "".join(answer).strip()):
        return _separated(answer, [*thoughts, text[start:]], True)
    return _separated([*answer, text[block.start() if block else start :]], thoughts, False)


def _quoted(text: str, tag: re.Match[str]) -> bool:
    start, end = tag.start("close"), tag.end()
    return start > 0 and text[start - 1] in "`\"'" and text[end : end + 1] in ("`", '"', "'")


def _spoken_of(text: str, tag: re.Match[str]) -> bool:
    """Says whether a closing tag alone is a part of a sentence."""
    start = tag.start("close")
    if tag["line"] is not None or not re.search(r"(?<![.!?])[ \t`\"'(]\Z", text[max(0, start - 2) : start]):
        return False
    return bool(_SENTENCE_GOES_ON.match(text, tag.end()))


def _separated(answer: list[str], thoughts: list[str], still_thinking: bool) -> Separated:
    said = "".join(answer).strip()
    if begins := _ANSWER_BEGINS.match(said):
        said = said[begins.end() :]
    said = _ANSWER_ENDS.sub("", said).strip()
    return Separated(said, "\n\n".join(each.strip() for each in thoughts if each.strip()), still_thinking)


def whole_sentences(text: str) -> str:
    """Cuts an answer that hit the limit of tokens after its last full sentence; without one it stays as it is."""
    text = text.strip()
    end = max(text.rfind(mark) for mark in (". ", "! ", "? ", ".\n", "!\n", "?\n"))
    if text.endswith((".", "!", "?")) or end < 0:
        return text
    return text[: end + 1]


def storable(text: str) -> str:
    """Replaces what is no text to UTF-8 (lone surrogates) or to PostgreSQL (NUL)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")

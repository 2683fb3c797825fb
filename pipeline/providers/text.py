"""Cleans texts from providers. Pure."""

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
"""Matches a text that starts with a mark, or with thoughts whose mark is part of the prompt.

No group has a possessive quantifier: before Python 3.11.5 it may match too much (python/cpython#100061).
"""
_CHANNEL = re.compile(
    r"(?:<\|start\|>[^<]*+)?(?:<\|channel\|>\s*+(?P<name>\w++)[^<]*+)?(?:<\|constrain\|>[^<]*+)?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>")
_BARE_CHANNELS = re.compile(
    r"\s*(?:(?:analysis|commentary)(?P<thoughts>.*?))?assistant\n*final(?P<answer>.*)", re.DOTALL
)
_BARE_ANALYSIS = re.compile(r"\s*analysis(?=[^\W\d_a-z])")
"""The word, directly followed by a capital, or by a letter of another script."""

_ANSWER_BEGINS = re.compile(r"<(?:final_)?answer>|<\|(?:begin_of_solution|start_response|start_text)\|>", re.IGNORECASE)
_ANSWER_ENDS = re.compile(
    r"(?:</(?:final_)?answer>|<\|(?:end_of_solution|end_response|end_text|end|return|im_end)\|>)\Z", re.IGNORECASE
)


@dataclass(frozen=True)
class Separated:
    """Answer and thoughts of a model.

    Attributes:
        answer: The answer without the thoughts; empty if there is none.
        thoughts: The thoughts without their tags; empty if there are none.
        still_thinking: True: the text ends within the thoughts.
    """

    answer: str
    thoughts: str = ""
    still_thinking: bool = False


def separate_thoughts(text: str, cut: bool = False) -> Separated:
    """Separates thoughts from a text. Servers without a parser for the model leave them in the text.

    Tags are recognised where models write them: a block starts at the start of the text or of a line, and a closing tag
    alone ends thoughts whose opening tag is part of the prompt. Tags in code, or mentioned in a sentence, are part of
    the answer. The run time is linear in the length of the text.

    Args:
        text: The whole output of the model.
        cut: True: the output was cut at the limit of tokens, so a block without an end may follow an answer.
    """
    return _by_channels(text) or _by_tags(text, cut)


def _by_channels(text: str) -> Separated | None:
    """Reads the format of gpt-oss (https://cookbook.openai.com/articles/openai-harmony); None: another format.

    Some servers remove its marks and leave the words: `analysis…assistantfinal…` (Augustas11/macprovider#743).
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
    block: re.Match[str] | None = None  # the tag that opened the current block
    mentioned: int | None = None  # the end of an opening tag that is only mentioned
    start = seen = fences = 0
    fences_left = text.count("```")
    for tag in _TAG.finditer(text):
        fences_left -= bool(tag["fence"])
        if block:
            if tag["close"] and not _quoted(text, tag):
                thoughts.append(text[start : tag.start()])
                block, mentioned, start, fences = None, None, tag.end(), 0
        elif tag["fence"]:
            fences += 1
        elif tag["open"]:
            follows = seen == start and not text[start : tag.start()].strip()
            if fences % 2 == 0 and (tag["line"] is not None or follows):
                answer.append(text[start : tag.start()])
                block, start = tag, tag.end()
            else:
                mentioned = tag.end()
        elif mentioned is not None and (fences % 2 or "\n" not in text[mentioned : tag.start()]):
            mentioned = None  # the closing tag of a pair that is only mentioned
        elif not (fences % 2 and fences_left % 2) and not _is_mentioned(text, tag):
            thoughts += [*answer, text[start : tag.start()]]
            answer, mentioned, start, fences = [], None, tag.end(), 0
        seen = tag.end()
    if block and (cut or not "".join(answer).strip()):
        return _separated(answer, [*thoughts, text[start:]], True)
    return _separated([*answer, text[block.start() if block else start :]], thoughts, False)


def _quoted(text: str, tag: re.Match[str]) -> bool:
    start, end = tag.start("close"), tag.end()
    return start > 0 and text[start - 1] in "`\"'" and text[end : end + 1] in ("`", '"', "'")


def _is_mentioned(text: str, tag: re.Match[str]) -> bool:
    """Returns whether a single closing tag is part of a sentence."""
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
    """Cuts an answer that reached the limit of tokens after its last full sentence; without one it stays unchanged."""
    text = text.strip()
    end = max(text.rfind(mark) for mark in (". ", "! ", "? ", ".\n", "!\n", "?\n"))
    if text.endswith((".", "!", "?")) or end < 0:
        return text
    return text[: end + 1]


def storable(text: str) -> str:
    """Replaces characters that are invalid in UTF-8 (lone surrogates) or in PostgreSQL (NUL)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")

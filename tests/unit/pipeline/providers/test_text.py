import time

import pytest

from pipeline.providers.text import Separated, separate_thoughts, storable, whole_sentences

ANSWER = "Ice floats."


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("One. Two. And thr", "One. Two."),
        ("One. Two.", "One. Two."),
        ("Is it? Yes! But", "Is it? Yes!"),
        ("no sentence at all", "no sentence at all"),
        ("First.\nSecond, bu", "First."),
        ("Pi is 3.14 and", "Pi is 3.14 and"),
    ],
)
def test_a_cut_answer_ends_with_its_last_whole_sentence(cut, whole):
    assert whole_sentences(cut) == whole


@pytest.mark.parametrize(
    ("text", "kept"), [("naïve 🙂", "naïve 🙂"), ("a\x00b", "a\ufffdb"), ("a\ud800b", "a?b"), ("", "")]
)
def test_characters_that_cannot_be_stored_are_replaced(text, kept):
    assert storable(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Hm.</think>{ANSWER}",
        f"<think>\nHm.\n</think>\n\n{ANSWER}",
        f"\n \t<think>  Hm.\n\n </think> \n {ANSWER}\n",
        f"<THINK>Hm.</Think>{ANSWER}",
        f"< think >Hm.< / think >{ANSWER}",
        f'<think lang="en" budget=10>Hm.</think>{ANSWER}',
        f"<thinking>Hm.</thinking>{ANSWER}",
        f"<thought>Hm.</thought>{ANSWER}",
        f"<thoughts>Hm.</thoughts>{ANSWER}",
        f"<reasoning>Hm.</reasoning>{ANSWER}",
        f"<seed:think>Hm.</seed:think>{ANSWER}",
        f"[THINK]Hm.[/THINK]{ANSWER}",
        f"◁think▷Hm.◁/think▷{ANSWER}",
        f"<|channel>thought\nHm.\n<channel|>{ANSWER}",
        f"<|begin_of_thought|>Hm.<|end_of_thought|>{ANSWER}",
        f"<|begin_of_thought|>\nHm.\n<|end_of_thought|>\n\n<|begin_of_solution|>\n{ANSWER}\n<|end_of_solution|>",
        f"<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
        f"<think>Hm.</think>\n<answer>{ANSWER}</answer>",
        f"<think></think><think>Hm.</think>{ANSWER}",
        f"{ANSWER}\n\n<think>\nHm.\n</think>",
        f"{ANSWER}\n<think>Hm.</think>\n",
        f"Hm.\n</think>\n\n{ANSWER}",
        f"Hm.</think>{ANSWER}",
        f"Hm. </think> {ANSWER}",
        f"Hm.\n<|end_of_thought|>\n<|begin_of_solution|>{ANSWER}",
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        f"<|channel|>analysis<|message|>Hm.<|end|>\n<|channel|>final <|constrain|>text<|message|>{ANSWER}",
        f"<|start|>assistant<|channel|>commentary<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        f"Hm.<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    ],
)
def test_reasoning_is_separated_from_the_answer(text):
    assert separate_thoughts(text) == Separated(ANSWER, "Hm.")


@pytest.mark.parametrize(
    ("text", "answer", "thoughts"),
    [
        ("<think>A.</think><think>B.</think>Ice.", "Ice.", "A.\n\nB."),
        ("<think>A.</think>\nIce\n<think>\nB.\n</think>\nfloats.", "Ice\n\nfloats.", "A.\n\nB."),
        ("<think>A <think>B</think> C</think>Ice.", "Ice.", "A <think>B\n\nC"),
        ("<think>I close with `</think>` then.</think>Ice.", "Ice.", "I close with `</think>` then."),
        ("<think>It wants <think> tags.</think>Ice.", "Ice.", "It wants <think> tags."),
        ("<think>A ``` here.</think>Ice: ```x```", "Ice: ```x```", "A ``` here."),
        ("A ``` here.\n</think>\nIce: ```x```", "Ice: ```x```", "A ``` here."),
        ("A\n</think>\nB\n</think>\nIce.", "Ice.", "A\n\nB"),
        ("<think>A.</think>Write `</think>`.", "Write `</think>`.", "A."),
        ("analysisHm. So.assistantfinalIce.", "Ice.", "Hm. So."),
        ("analysisHm.assistantcommentaryNo.assistantfinalIce.", "Ice.", "Hm.assistantcommentaryNo."),
        ("analysis\nhm\nassistant\nfinal\nIce.", "Ice.", "hm"),
        ("assistantfinalIce.", "Ice.", ""),
        ("<think>\n\n</think>\n\nIce.", "Ice.", ""),
        ("<|start|>assistant<|channel|>final<|message|>Ice.<|return|>", "Ice.", ""),
        ("<|start|>assistant<|message|>Ice.<|end|>", "Ice.", ""),
        ("Ice.<|return|>", "Ice.", ""),
        ("<think>A.</think>", "", "A."),
        ("A.</think>", "", "A."),
    ],
)
def test_answer_and_reasoning_are_split_in_mixed_texts(text, answer, thoughts):
    assert separate_thoughts(text) == Separated(answer, thoughts)


@pytest.mark.parametrize(
    "text",
    [
        "<think>Hm.",
        "\n <THINKING lang='en'>\nHm.",
        "<think>",
        "<think>A.</think><think>B",
        "<reasoning>Hm. Write `</reasoning>`",
        "<|begin_of_thought|>Hm.",
        "[THINK]Hm.",
        "<|channel>thought\nHm.",
        "<|channel|>analysis<|message|>Hm.",
        "<|channel|>analysis<|message|>Hm.<|end|>",
        "<|channel|>analysis",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "<|start|>assistant<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>commentary<|message|>B",
        "analysisThe user asks",
        "analysis用户问",
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_a_text_that_ends_inside_reasoning_has_no_answer(text, cut):
    separated = separate_thoughts(text, cut)
    assert (separated.answer, separated.still_thinking) == ("", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ANSWER,
        "Use the `<think>` tag.",
        "`<think>` is a tag.",
        "Use the <think> tag to mark a thought.",
        "HTML has no <think> element, nor <reasoning>.",
        "A thought ends with `</think>`.",
        'A thought ends with "</think>" in most models.',
        "A thought ends with </think>, and the answer follows.",
        "The </think> tag ends it.",
        "Write <think>x</think> around it.",
        "Write `<think>x</think>` around it.",
        "Like this:\n```\n<think>\nx\n</think>\ny\n```\nThat is all.",
        "Like this:\n```xml\n<think>x</think>\n```\nor\n```\nx\n</think>\n```\n.",
        "The tags are\n<think>\nwhich opens.",
        "- <think>: opens\n- <thought>: opens too",
        "<think/> is empty.",
        "<thinker>Rodin</thinker>",
        "[Reasoning] It is less dense.",
        "analysis of variance compares means.",
        "analysis: ice floats.",
        "The final channel is `<|channel|>final<|message|>`.",
        "gpt-oss:\n```\n<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>A\n```",
        "A turn ends so: `<|end|><|start|>assistant`.",
        "a < think > b",
        "if a <b and c> d",
    ],
)
def test_reasoning_tags_mentioned_in_an_answer_are_kept(text):
    assert separate_thoughts(text) == Separated(text)


@pytest.mark.parametrize("thought", ["<think>\nWait", "<think>Wait", "<think>", "<|channel>thought\nWait"])
def test_unclosed_reasoning_after_an_answer_is_removed_only_from_a_cut_text(thought):
    text = f"{ANSWER}\n{thought}"
    assert separate_thoughts(text, cut=False) == Separated(text)
    assert separate_thoughts(text, cut=True) == Separated(ANSWER, "Wait" if "Wait" in thought else "", True)


TAGS = ("<think>", "</think>", "<|start|>", "<|channel|>a", "<|message|>", "<|end|>", "analysis", "assistant\n")


@pytest.mark.parametrize(
    "piece",
    [
        *TAGS,
        "<think></think>",
        "a <think> b ",
        "a </think> b ",
        "`</think>`",
        "```",
        "<think ",
        "<",
        "< ",
        "a:",
        " ",
        "\n",
    ],
)
def test_hostile_texts_are_separated_quickly(piece):
    started = time.monotonic()
    for start in ("", "<think>", "analysis", "<|channel|>", "<"):
        separate_thoughts(start + piece * (200_000 // len(piece)), cut=True)
    assert time.monotonic() - started < 10

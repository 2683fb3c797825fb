"""Fake scorer that compares words, so that tests need neither torch nor weights."""

import threading

from score_validator.scorer import InvalidPair, Scored, Unscorable

NO_TOKENS = "\x00"
NOT_A_NUMBER = "not a number"
UNREADABLE = "not English"
BREAKS = "breaks the model"
MAX_WORDS = 512


class FakeScorer:
    """Scorer that records its batches; a test can make it wait (`released`) and fail (`error`)."""

    name = "fake/words"
    baseline = 0.2

    def __init__(self):
        self.calls = []
        self.threads = set()
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()
        self.released.set()
        self.error = None

    def score(self, pairs):
        self.calls.append(list(pairs))
        self.threads.add(threading.get_ident())
        self.entered.release()
        assert self.released.wait(20), "the test did not release the fake"
        if self.error:
            raise self.error
        if any(candidate == BREAKS for candidate, _ in pairs):
            raise RuntimeError("out of memory")
        return [_score(*pair) for pair in pairs]


def _score(candidate, reference):
    if reference == NO_TOKENS:
        return InvalidPair("reference", "has no text that the encoder can read")
    fields = {"candidate": candidate, "reference": reference}
    unread = tuple(field for field, text in fields.items() if text == UNREADABLE)
    if unread:
        return Unscorable("other_language", unread)
    if candidate == NOT_A_NUMBER:
        return InvalidPair("candidate", "cannot be scored")
    texts = {"candidate": candidate.split(), "reference": reference.split()}
    common = len(set(texts["candidate"]) & set(texts["reference"]))
    precision, recall = common / len(set(texts["candidate"])), common / len(set(texts["reference"]))
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    cut = tuple(field for field, words in texts.items() if len(words) > MAX_WORDS)
    return Scored(precision, recall, f1, cut)

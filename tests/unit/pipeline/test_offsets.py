import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.offsets import MAX_METADATA_BYTES, LowWatermark, Progress


def test_nothing_is_committed_past_a_message_in_flight():
    watermark = LowWatermark()
    assert watermark.progress is None
    for offset in (5, 6, 7):
        assert watermark.start(offset)
    watermark.finish(7)
    assert watermark.progress == Progress(5, (range(7, 8),))
    watermark.finish(6)
    assert watermark.progress == Progress(5, (range(6, 8),))
    watermark.finish(5)
    assert watermark.progress == Progress(8)


def test_offsets_finished_out_of_order_are_stored_in_the_metadata():
    progress = Progress(100, (range(102, 142), range(143, 150)))
    assert progress.metadata == "2+40,1+7"
    assert Progress.of(100, "2+40,1+7") == progress
    assert Progress.of(100, Progress(100).metadata) == Progress(100)


@pytest.mark.parametrize("metadata", ["consumer-1", "2+40,", "2+x", "+", "{}"])
def test_metadata_of_other_programs_is_ignored(metadata):
    assert Progress.of(100, metadata) == Progress(100)


def test_metadata_of_many_ranges_stays_within_the_limit_of_the_broker():
    many = Progress(0, tuple(range(offset, offset + 1) for offset in range(1, 20_000, 2)))
    assert len(many.metadata) <= MAX_METADATA_BYTES
    kept = Progress.of(0, many.metadata).ahead
    assert kept == many.ahead[: len(kept)]
    assert len(kept) > 1_000


@given(st.data(), st.sets(st.integers(0, 40), max_size=30), st.integers(1, 8))
def test_successive_readers_process_each_message_once(data, offsets, in_flight):
    """A reader may end at any moment. The next one processes the unfinished messages and no others."""
    log = sorted(offsets)  # with gaps, as in a compacted or transactional topic
    done: list[int] = []
    committed = Progress(0)
    for last in [False] * 4 + [True]:
        watermark = LowWatermark(committed)
        at_work: list[int] = []
        unread = [offset for offset in log if offset >= committed.position]
        while unread or at_work:
            if unread and len(at_work) < in_flight and (not at_work or data.draw(st.booleans())):
                offset = unread.pop(0)
                if watermark.start(offset):
                    at_work.append(offset)
            elif at_work:
                offset = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
                watermark.finish(offset)
                done.append(offset)
            if not last and data.draw(st.integers(0, 5)) == 0:
                break
        progress = watermark.progress
        assert progress is not None
        assert progress.position >= committed.position
        committed = Progress.of(progress.position, progress.metadata)
    assert sorted(done) == log
    assert committed.position > max(log, default=-1)

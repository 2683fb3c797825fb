-- Messages that could not be read or handled, kept for people; and the reason of a question that one of them ended.
CREATE TABLE dead_letters (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic            text NOT NULL,
    partition        integer NOT NULL,
    topic_offset     bigint NOT NULL,
    source_topic     text,
    source_partition integer,
    source_offset    bigint,
    reason           text NOT NULL CHECK (reason IN ('malformed', 'internal_error')),
    error            text NOT NULL,
    key              bytea,
    value            bytea,
    value_bytes      bigint,
    question_id      text,
    failed_at        timestamptz NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT now(),
    replayed_at      timestamptz,
    -- failed_at tells letters apart that stand in the same place of a topic that was lost and made anew.
    CONSTRAINT dead_letters_once UNIQUE (topic, partition, topic_offset, failed_at)
);
COMMENT ON TABLE dead_letters IS 'Messages that were rejected: where they stood, why, and their bytes.';
COMMENT ON COLUMN dead_letters.source_topic IS 'Where the message was rejected; topic, partition and topic_offset tell where its letter stands.';
COMMENT ON COLUMN dead_letters.value IS 'The first 64 kB; null: the message had no value, or it was too large to be forwarded.';
COMMENT ON COLUMN dead_letters.value_bytes IS 'Size of the whole value; more than value has: it was cut.';
COMMENT ON COLUMN dead_letters.question_id IS 'The key, where it is the id of a question.';
COMMENT ON COLUMN dead_letters.replayed_at IS 'When the bytes were written to the source topic again; null: never.';

CREATE INDEX dead_letters_newest ON dead_letters (received_at DESC, id DESC);
CREATE INDEX dead_letters_open ON dead_letters (id) WHERE replayed_at IS NULL;

-- Checked for new rows only, which takes no look at the table; the next file checks those that are there.
ALTER TABLE failed_questions DROP CONSTRAINT failed_questions_reason_check;
ALTER TABLE failed_questions ADD CONSTRAINT failed_questions_reason_check CHECK (reason IN (
    'retries_exhausted', 'patience_exhausted', 'not_retryable', 'malformed', 'internal_error'
)) NOT VALID;
COMMENT ON COLUMN failed_questions.reason IS
    'patience_exhausted: the provider admitted no call for longer than a question waits. internal_error: a fault of a service, not of the message.';

-- Here and not beside its index: a transaction that makes the index must not hold this lock meanwhile.
ALTER TABLE questions ADD COLUMN best json;
COMMENT ON COLUMN questions.best IS
    'The best scored answer so far of a pending question, as messages carry it: with it, a lost question goes on.';

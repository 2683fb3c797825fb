-- Tables, as of the first release with numbered migrations. Databases from before have some of them: hence IF NOT EXISTS.

CREATE TABLE IF NOT EXISTS questions (
    question_id      text PRIMARY KEY,
    question_text    text NOT NULL,
    question_context text,
    original_answer  text,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'failed')),
    times_asked      integer NOT NULL DEFAULT 1,
    asked_at         timestamptz NOT NULL DEFAULT now(),
    published_at     timestamptz
);
COMMENT ON COLUMN questions.published_at IS
    'When the broker acknowledged the question; null: not yet, storage-writer will publish it again.';

ALTER TABLE questions ADD COLUMN IF NOT EXISTS topic text;
COMMENT ON COLUMN questions.topic IS 'What the question is about, in the words of who asked it first with one; null: nobody said.';

CREATE TABLE IF NOT EXISTS responses (
    question_id              text PRIMARY KEY REFERENCES questions,
    question_text            text NOT NULL,
    original_answer          text,
    llm_response             text NOT NULL,
    bert_score               numeric(7, 6),
    bert_precision           numeric(7, 6),
    bert_recall              numeric(7, 6),
    quality                  text NOT NULL,
    scorer                   text,
    model                    text NOT NULL,
    processing_attempts      integer NOT NULL,
    total_processing_time_ms bigint NOT NULL,
    created_at               timestamptz NOT NULL DEFAULT now(),
    updated_at               timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE responses IS 'The answer that was kept of each completed question.';

ALTER TABLE responses ADD COLUMN IF NOT EXISTS bert_f1 numeric(7, 6);
-- Apart from the table, so that the list can grow: the constraint has the name that PostgreSQL gives one of a column.
-- Only where it is an older one: making it reads the whole table, under a lock.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'responses'::regclass AND conname = 'responses_quality_check'
              AND pg_get_constraintdef(oid) LIKE '%self_check_accepted%'
    ) THEN
        ALTER TABLE responses DROP CONSTRAINT IF EXISTS responses_quality_check;
        ALTER TABLE responses ADD CONSTRAINT responses_quality_check CHECK (quality IN (
            'accepted', 'max_retries_reached', 'self_check_accepted', 'self_check_max_retries_reached', 'unscored'
        ));
    END IF;
END
$$;
COMMENT ON COLUMN responses.quality IS
    'What became of the answer. self_check_*: without a reference, scored against further answers of the same model.';
COMMENT ON COLUMN responses.bert_score IS
    'BERTScore F1 on a scale where 0 is what unrelated texts get and 1 is identity; precision, recall and bert_f1 are raw.';

CREATE TABLE IF NOT EXISTS attempts (
    question_id       text NOT NULL REFERENCES questions,
    attempt           integer NOT NULL,
    model             text NOT NULL,
    llm_response      text NOT NULL,
    bert_score        numeric(7, 6),
    llm_latency_ms    integer NOT NULL,
    prompt_tokens     integer NOT NULL,
    completion_tokens integer NOT NULL,
    generated_at      timestamptz NOT NULL,
    PRIMARY KEY (question_id, attempt)
);
COMMENT ON TABLE attempts IS
    'Every scored generation, kept or not; those below the threshold appear while the question is still in flight.';

ALTER TABLE attempts ADD COLUMN IF NOT EXISTS cost numeric(18, 9);
COMMENT ON COLUMN attempts.cost IS
    'Of the call, in the currency of LLM_PRICES; null: no price of the model was known.';
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS reasoning_tokens integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN attempts.reasoning_tokens IS 'Of the completion tokens, those of what the model thought.';

CREATE TABLE IF NOT EXISTS call_errors (
    question_id text NOT NULL REFERENCES questions,
    attempt     integer NOT NULL,
    retry       integer NOT NULL,
    type        text NOT NULL,
    status_code integer,
    message     text NOT NULL,
    failed_at   timestamptz NOT NULL,
    due_at      timestamptz,
    PRIMARY KEY (question_id, attempt, retry)
);
ALTER TABLE call_errors ADD COLUMN IF NOT EXISTS prompt_tokens integer NOT NULL DEFAULT 0;
ALTER TABLE call_errors ADD COLUMN IF NOT EXISTS completion_tokens integer NOT NULL DEFAULT 0;
ALTER TABLE call_errors ADD COLUMN IF NOT EXISTS cost numeric(18, 9);
COMMENT ON COLUMN call_errors.cost IS
    'Of an answer that was empty or refused; null: the call took nothing, or no price of the model was known.';
ALTER TABLE call_errors ADD COLUMN IF NOT EXISTS cause text NOT NULL DEFAULT 'other';
COMMENT ON COLUMN call_errors.cause IS 'Why, in more detail than type: rate_limit, unavailable, refused_content and others.';
ALTER TABLE call_errors ADD COLUMN IF NOT EXISTS times integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN call_errors.times IS
    'Failed calls of this attempt and retry; the row is of the last one. Whoever counts calls takes sum(times).';
ALTER TABLE call_errors ADD COLUMN IF NOT EXISTS counts_as_retry boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN call_errors.counts_as_retry IS
    'False: the provider did not admit the call, or was unavailable for everybody. It cost time, and no retry.';
COMMENT ON TABLE call_errors IS
    'Failed calls of the model: in which attempt, after how many retries, and when the next one was due (null: never).';

CREATE TABLE IF NOT EXISTS failed_questions (
    question_id text PRIMARY KEY REFERENCES questions,
    reason      text NOT NULL,
    retry_count integer NOT NULL,
    last_error  text NOT NULL,
    failed_at   timestamptz NOT NULL
);
-- As that of responses.quality.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'failed_questions'::regclass AND conname = 'failed_questions_reason_check'
              AND pg_get_constraintdef(oid) LIKE '%patience_exhausted%'
    ) THEN
        ALTER TABLE failed_questions DROP CONSTRAINT IF EXISTS failed_questions_reason_check;
        ALTER TABLE failed_questions ADD CONSTRAINT failed_questions_reason_check CHECK (reason IN (
            'retries_exhausted', 'patience_exhausted', 'not_retryable', 'malformed'
        ));
    END IF;
END
$$;
COMMENT ON COLUMN failed_questions.reason IS
    'patience_exhausted: the provider admitted no call for longer than a question waits.';

CREATE INDEX IF NOT EXISTS questions_unpublished ON questions (asked_at)
    WHERE status = 'pending' AND published_at IS NULL;
CREATE INDEX IF NOT EXISTS failed_newest ON failed_questions (failed_at DESC, question_id);
CREATE INDEX IF NOT EXISTS questions_status ON questions (status);
CREATE INDEX IF NOT EXISTS questions_asked ON questions (times_asked DESC);
CREATE INDEX IF NOT EXISTS responses_created ON responses (created_at);
CREATE INDEX IF NOT EXISTS responses_score ON responses (bert_score);
CREATE INDEX IF NOT EXISTS questions_topic ON questions (topic, asked_at DESC) WHERE topic IS NOT NULL;
CREATE INDEX IF NOT EXISTS questions_newest ON questions (asked_at DESC, question_id);

-- Tables and views as they were before migrations had numbers, with a question of each status.
-- Tables. Every file in this folder is applied in order at each start and may be applied again at any time.
SET client_min_messages = warning;

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
COMMENT ON TABLE call_errors IS
    'Failed calls of the model: in which attempt, after how many retries, and when the next one was due (null: never).';

CREATE TABLE IF NOT EXISTS failed_questions (
    question_id text PRIMARY KEY REFERENCES questions,
    reason      text NOT NULL CHECK (reason IN ('retries_exhausted', 'not_retryable', 'malformed')),
    retry_count integer NOT NULL,
    last_error  text NOT NULL,
    failed_at   timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS questions_unpublished ON questions (asked_at)
    WHERE status = 'pending' AND published_at IS NULL;
CREATE INDEX IF NOT EXISTS failed_newest ON failed_questions (failed_at DESC, question_id);
CREATE INDEX IF NOT EXISTS questions_status ON questions (status);
CREATE INDEX IF NOT EXISTS questions_asked ON questions (times_asked DESC);
CREATE INDEX IF NOT EXISTS responses_created ON responses (created_at);
CREATE INDEX IF NOT EXISTS responses_score ON responses (bert_score);
CREATE INDEX IF NOT EXISTS questions_topic ON questions (topic, asked_at DESC) WHERE topic IS NOT NULL;
CREATE INDEX IF NOT EXISTS questions_newest ON questions (asked_at DESC, question_id);
-- Views for reading: the dashboard and people at psql use them.
SET client_min_messages = warning;

CREATE OR REPLACE VIEW score_summary AS
SELECT
    quality,
    processing_attempts,
    count(*)                                                                    AS answers,
    round(avg(bert_score), 4)                                                   AS mean_score,
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY bert_score)::numeric, 4)  AS median_score,
    round(stddev_samp(bert_score), 4)                                           AS deviation,
    min(bert_score)                                                             AS lowest,
    max(bert_score)                                                             AS highest
FROM responses
GROUP BY quality, processing_attempts
ORDER BY quality, processing_attempts;

-- For the same question: the score of its first answer against the score of the answer that was kept.
CREATE OR REPLACE VIEW regeneration_analysis AS
SELECT
    kept.question_id,
    kept.processing_attempts,
    kept.quality,
    first.bert_score                       AS first_score,
    kept.bert_score                        AS kept_score,
    kept.bert_score - first.bert_score     AS gain,
    kept.created_at
FROM responses AS kept
JOIN attempts AS first ON first.question_id = kept.question_id AND first.attempt = 1
WHERE kept.bert_score IS NOT NULL;

CREATE OR REPLACE VIEW latency_by_stage AS
WITH per_question AS (
    SELECT
        kept.question_id,
        kept.total_processing_time_ms AS total,
        sum(attempts.llm_latency_ms)  AS model
    FROM responses AS kept
    JOIN attempts USING (question_id)
    GROUP BY kept.question_id
), stages AS (
    SELECT stage, ms
    FROM per_question
    CROSS JOIN LATERAL (VALUES ('total', total), ('model', model), ('queues and scoring', total - model)) AS s (stage, ms)
)
SELECT
    stage,
    count(*)                                                  AS questions,
    round(avg(ms))                                            AS mean_ms,
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms))    AS p50_ms,
    round(percentile_cont(0.95) WITHIN GROUP (ORDER BY ms))   AS p95_ms
FROM stages
GROUP BY stage
ORDER BY stage;

CREATE OR REPLACE VIEW error_distribution AS
SELECT
    reason,
    count(*)                                            AS questions,
    round(100.0 * count(*) / sum(count(*)) OVER (), 1)  AS percentage,
    round(avg(retry_count), 2)                          AS mean_retries,
    max(failed_at)                                      AS last_failed_at
FROM failed_questions
GROUP BY reason
ORDER BY questions DESC;

-- What the scored answers of each model took, kept or not. A cost is null where no price was known.
CREATE OR REPLACE VIEW model_usage AS
SELECT
    model,
    attempt,
    count(*)                  AS answers,
    round(avg(bert_score), 4) AS mean_score,
    sum(prompt_tokens)        AS prompt_tokens,
    sum(completion_tokens)    AS completion_tokens,
    sum(cost)                 AS cost,
    count(*) - count(cost)    AS without_price
FROM attempts
GROUP BY model, attempt
ORDER BY model, attempt;

-- What each question took: all its attempts, and calls that took tokens and brought nothing.
CREATE OR REPLACE VIEW question_usage AS
WITH calls AS (
    SELECT question_id, 1 AS attempts, prompt_tokens, completion_tokens, cost, generated_at AS at FROM attempts
    UNION ALL
    SELECT question_id, 0, prompt_tokens, completion_tokens, cost, failed_at
    FROM call_errors WHERE prompt_tokens + completion_tokens > 0
)
SELECT
    question_id,
    sum(attempts)          AS attempts,
    sum(prompt_tokens)     AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    sum(cost)              AS cost,
    min(at)                AS first_at
FROM calls
GROUP BY question_id;

-- The whole cost by day (UTC, of the first call), per question, per accepted answer and per point of score that was kept:
-- what was spent in vain is in it. Questions of which no price is known are left out of the last three.
CREATE OR REPLACE VIEW cost_summary AS
SELECT
    (first_at AT TIME ZONE 'UTC')::date                                                              AS day,
    count(*)                                                                                         AS questions,
    count(*) FILTER (WHERE quality = 'accepted')                                                     AS accepted,
    sum(prompt_tokens + completion_tokens)                                                           AS tokens,
    sum(cost)                                                                                        AS cost,
    round(sum(cost) / nullif(count(cost), 0), 9)                                                     AS cost_per_question,
    round(sum(cost) / nullif(count(cost) FILTER (WHERE quality = 'accepted'), 0), 9)                 AS cost_per_accepted,
    -- Of scores against a reference alone, which are on one scale.
    round(
        sum(cost) FILTER (WHERE (quality LIKE 'self_check%') IS NOT TRUE)
        / nullif(
            sum(greatest(bert_score, 0)) FILTER (WHERE cost IS NOT NULL AND (quality LIKE 'self_check%') IS NOT TRUE), 0
        ), 9
    )                                                                                                AS cost_per_point
FROM question_usage
LEFT JOIN responses USING (question_id)
GROUP BY day
ORDER BY day;

INSERT INTO questions (question_id, question_text, original_answer, status, published_at) VALUES
    ('a', 'What is one plus one?', 'Two.', 'completed', now()),
    ('b', 'What is two plus two?', 'Four.', 'failed', now()),
    ('c', 'What is three plus three?', 'Six.', 'pending', NULL);
INSERT INTO responses (question_id, question_text, llm_response, bert_score, quality, model, processing_attempts, total_processing_time_ms)
    VALUES ('a', 'What is one plus one?', 'It is two.', 0.9, 'accepted', 'm', 1, 1000);
INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens, generated_at)
    VALUES ('a', 1, 'm', 'It is two.', 0.9, 500, 10, 5, now());
INSERT INTO failed_questions (question_id, reason, retry_count, last_error, failed_at) VALUES ('b', 'retries_exhausted', 3, 'down', now());

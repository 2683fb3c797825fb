-- The whole schema, to read. Written by `make schema`; migrations/ and views.sql are what is applied.

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';

CREATE TABLE public.dashboard_answers (
    question_id text NOT NULL,
    minute timestamp with time zone NOT NULL,
    quality text NOT NULL,
    attempts integer NOT NULL,
    score numeric(7,6),
    first_score numeric(7,6),
    scores numeric(7,6)[] NOT NULL,
    time_ms bigint NOT NULL,
    cost numeric,
    rejected_by text
);

COMMENT ON TABLE public.dashboard_answers IS 'What is counted of each answer: an answer that changes or goes is taken away as it was counted.';

CREATE FUNCTION public.dashboard_answers_now(ids text[]) RETURNS SETOF public.dashboard_answers
    LANGUAGE sql STABLE
    AS $$
    SELECT kept.question_id, date_trunc('minute', kept.created_at), kept.quality, kept.processing_attempts,
           kept.bert_score, tried.first_score, coalesce(tried.scores, '{}'), kept.total_processing_time_ms,
           coalesce(tried.cost + erred.cost, tried.cost, erred.cost), kept.rejected_by
    FROM responses AS kept
    CROSS JOIN LATERAL (
        SELECT array_agg(bert_score ORDER BY attempt) FILTER (WHERE bert_score IS NOT NULL) AS scores,
               max(bert_score) FILTER (WHERE attempt = 1) AS first_score,
               sum(coalesce(cost + judge_cost, cost, judge_cost)) AS cost
        FROM attempts WHERE attempts.question_id = kept.question_id
    ) AS tried
    CROSS JOIN LATERAL (
        SELECT sum(cost) AS cost FROM call_errors WHERE call_errors.question_id = kept.question_id
    ) AS erred
    WHERE ids IS NULL OR kept.question_id = ANY (ids)
$$;

CREATE FUNCTION public.dashboard_compact(prune boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    -- Windows reach back for 168 hours at most. Hours of answers stay: they are the time series of all times.
    oldest CONSTANT timestamptz := now() - interval '8 days';
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('dashboard_compact')) THEN
        RETURN;
    END IF;
    WITH taken AS (
        DELETE FROM dashboard_changes RETURNING *
    )
    INSERT INTO dashboard_counts AS known (level, period, kind, label, attempts, bin, n, sum_1, sum_2)
    SELECT levels.level, levels.period, kind, label, attempts, bin, sum(n), sum(sum_1), sum(sum_2)
    FROM taken
    CROSS JOIN LATERAL (VALUES
        ('all', timestamptz '-infinity', true),
        ('hour', date_trunc('hour', minute), minute > '-infinity' AND (minute >= oldest OR kind = 'answers') AND kind <> 'prefix'),
        ('minute', minute, minute >= oldest AND kind <> 'prefix')
    ) AS levels (level, period, counts)
    WHERE levels.counts
    GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (level, period, kind, label, attempts, bin) DO UPDATE
    SET n = known.n + excluded.n, sum_1 = known.sum_1 + excluded.sum_1, sum_2 = known.sum_2 + excluded.sum_2;
    IF prune THEN
        DELETE FROM dashboard_counts WHERE level = 'minute' AND period < oldest;
        DELETE FROM dashboard_counts WHERE level = 'hour' AND period < oldest AND kind <> 'answers';
    END IF;
END
$$;

CREATE FUNCTION public.dashboard_count_answers(ids text[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- One at a time for each question: what somebody else changes must be seen, or be waited for.
    PERFORM FROM questions WHERE question_id = ANY (ids) ORDER BY question_id FOR NO KEY UPDATE;
    WITH gone AS (
        DELETE FROM dashboard_answers WHERE question_id = ANY (ids) RETURNING dashboard_answers AS answer
    )
    INSERT INTO dashboard_changes
    SELECT (answer).minute, kind, label, counted.attempts, bin, -sum(n), -sum(sum_1), -sum(sum_2)
    FROM gone CROSS JOIN LATERAL dashboard_counts_of(answer) AS counted
    GROUP BY 1, 2, 3, 4, 5;
    WITH come AS (
        INSERT INTO dashboard_answers SELECT * FROM dashboard_answers_now(ids) RETURNING dashboard_answers AS answer
    )
    INSERT INTO dashboard_changes
    SELECT (answer).minute, kind, label, counted.attempts, bin, sum(n), sum(sum_1), sum(sum_2)
    FROM come CROSS JOIN LATERAL dashboard_counts_of(answer) AS counted
    GROUP BY 1, 2, 3, 4, 5;
    PERFORM dashboard_written();
END
$$;

CREATE FUNCTION public.dashboard_counted(since timestamp with time zone, kinds text[]) RETURNS TABLE(kind text, label text, attempts integer, bin integer, n bigint, sum_1 numeric, sum_2 numeric)
    LANGUAGE sql STABLE
    AS $$
    SELECT kind, label, attempts, bin, sum(n)::bigint, sum(sum_1), sum(sum_2)
    FROM (
        SELECT kind, label, attempts, bin, n, sum_1, sum_2 FROM dashboard_counts
        WHERE since IS NULL AND level = 'all' AND period = '-infinity' AND kind = ANY (kinds)
        UNION ALL
        SELECT kind, label, attempts, bin, n, sum_1, sum_2 FROM dashboard_counts
        WHERE level = 'hour' AND period >= date_trunc('hour', since) + interval '1 hour' AND kind = ANY (kinds)
        UNION ALL
        SELECT kind, label, attempts, bin, n, sum_1, sum_2 FROM dashboard_counts
        WHERE level = 'minute' AND period >= date_trunc('minute', since)
              AND period < date_trunc('hour', since) + interval '1 hour' AND kind = ANY (kinds)
        UNION ALL
        SELECT kind, label, attempts, bin, n, sum_1, sum_2 FROM dashboard_changes
        WHERE (since IS NULL OR minute >= date_trunc('minute', since)) AND kind = ANY (kinds)
    ) AS counted
    GROUP BY kind, label, attempts, bin
    HAVING sum(n) <> 0
$$;

CREATE FUNCTION public.dashboard_counts_of(answer public.dashboard_answers) RETURNS TABLE(kind text, label text, attempts integer, bin integer, n bigint, sum_1 numeric, sum_2 numeric)
    LANGUAGE sql IMMUTABLE ROWS 8
    AS $$
    SELECT 'answers', answer.quality, answer.attempts, (answer.score IS NOT NULL)::integer, 1::bigint,
           coalesce(answer.score, 0), coalesce(answer.score * answer.score, 0)
    UNION ALL
    SELECT 'time', '', 0, time_bin(answer.time_ms), 1, 0, 0
    UNION ALL
    SELECT 'score', answer.quality, 0, score_bin(answer.score), 1, 0, 0
    WHERE answer.score IS NOT NULL
    UNION ALL
    SELECT 'first', answer.quality, answer.attempts, 0, 1, answer.first_score, 0
    WHERE answer.score IS NOT NULL AND answer.first_score IS NOT NULL
    UNION ALL
    SELECT 'gain', answer.quality, answer.attempts, (answer.score > answer.first_score)::integer, 1,
           answer.score - answer.first_score, (answer.score - answer.first_score) * (answer.score - answer.first_score)
    WHERE answer.score IS NOT NULL AND answer.first_score IS NOT NULL
    UNION ALL
    SELECT 'priced', answer.quality, 0, 0, 1, answer.cost, greatest(coalesce(answer.score, 0), 0)
    WHERE answer.cost IS NOT NULL
    UNION ALL
    SELECT 'rejected', answer.quality, 0, 0, 1, 0, 0
    WHERE answer.rejected_by = 'judge'
    UNION ALL
    SELECT 'prefix', CASE WHEN next_best IS NULL THEN 'ended' ELSE 'more' END, attempt::integer, score_bin(best), 1, best,
           coalesce(next_best, 0)
    FROM (
        SELECT attempt, best, lead(best) OVER (ORDER BY attempt) AS next_best
        FROM (
            SELECT attempt, max(score) OVER (ORDER BY attempt) AS best
            FROM unnest(answer.scores) WITH ORDINALITY AS tried (score, attempt)
        ) AS bests
    ) AS prefixes
    WHERE answer.quality IN ('accepted', 'max_retries_reached')
$$;

CREATE FUNCTION public.dashboard_on_attempts() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    ids text[];
BEGIN
    INSERT INTO dashboard_changes
    SELECT date_trunc('minute', generated_at), kind, 'attempts', 0, 0, sign * sum(n), sign * sum(sum_1), sign * sum(sum_2)
    FROM changed CROSS JOIN (SELECT CASE TG_OP WHEN 'DELETE' THEN -1 ELSE 1 END AS sign) AS signs
    CROSS JOIN LATERAL (VALUES
        ('calls', 1, prompt_tokens + judge_prompt_tokens, completion_tokens + judge_completion_tokens),
        ('cost', 1, coalesce(cost + judge_cost, cost, judge_cost), 0)
    ) AS counted (kind, n, sum_1, sum_2)
    WHERE sum_1 IS NOT NULL
    GROUP BY 1, 2, sign;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO dashboard_changes
        SELECT date_trunc('minute', generated_at), kind, 'attempts', 0, 0, -sum(n), -sum(sum_1), -sum(sum_2)
        FROM before
        CROSS JOIN LATERAL (VALUES
            ('calls', 1, prompt_tokens + judge_prompt_tokens, completion_tokens + judge_completion_tokens),
            ('cost', 1, coalesce(cost + judge_cost, cost, judge_cost), 0)
        ) AS counted (kind, n, sum_1, sum_2)
        WHERE sum_1 IS NOT NULL
        GROUP BY 1, 2;
    END IF;
    PERFORM dashboard_written();
    -- Calls come before the answer, or in the statement that brings it: an answer that is counted already is rare here.
    SELECT array_agg(question_id) INTO ids
    FROM dashboard_answers WHERE question_id IN (SELECT question_id FROM changed);
    IF ids IS NOT NULL THEN
        PERFORM dashboard_count_answers(ids);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.dashboard_on_call_errors() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    ids text[];
BEGIN
    INSERT INTO dashboard_changes
    SELECT date_trunc('minute', failed_at), kind, 'errors', 0, 0, sign * sum(n), sign * sum(sum_1), sign * sum(sum_2)
    FROM changed CROSS JOIN (SELECT CASE TG_OP WHEN 'DELETE' THEN -1 ELSE 1 END AS sign) AS signs
    CROSS JOIN LATERAL (VALUES ('calls', 1, prompt_tokens, completion_tokens), ('cost', 1, cost, 0)) AS counted (kind, n, sum_1, sum_2)
    WHERE sum_1 IS NOT NULL
    GROUP BY 1, 2, sign;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO dashboard_changes
        SELECT date_trunc('minute', failed_at), kind, 'errors', 0, 0, -sum(n), -sum(sum_1), -sum(sum_2)
        FROM before
        CROSS JOIN LATERAL (VALUES ('calls', 1, prompt_tokens, completion_tokens), ('cost', 1, cost, 0)) AS counted (kind, n, sum_1, sum_2)
        WHERE sum_1 IS NOT NULL
        GROUP BY 1, 2;
    END IF;
    PERFORM dashboard_written();
    -- Calls come before the answer, or in the statement that brings it: an answer that is counted already is rare here.
    SELECT array_agg(question_id) INTO ids
    FROM dashboard_answers WHERE question_id IN (SELECT question_id FROM changed);
    IF ids IS NOT NULL THEN
        PERFORM dashboard_count_answers(ids);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.dashboard_on_questions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO dashboard_changes
        SELECT '-infinity', 'questions', status, 0, 0, sum(sign), sum(sign * times_asked), 0
        FROM (SELECT status, times_asked, 1 AS sign FROM changed UNION ALL SELECT status, times_asked, -1 FROM before) AS moved
        GROUP BY status
        HAVING sum(sign) <> 0 OR sum(sign * times_asked) <> 0;
    ELSE
        INSERT INTO dashboard_changes
        SELECT '-infinity', 'questions', status, 0, 0, sign * count(*), sign * sum(times_asked), 0
        FROM changed CROSS JOIN (SELECT CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END AS sign) AS signs
        GROUP BY status, sign;
    END IF;
    IF FOUND THEN
        PERFORM dashboard_written();
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.dashboard_on_responses() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    ids text[];
BEGIN
    SELECT array_agg(question_id) INTO ids FROM changed;
    IF ids IS NOT NULL THEN
        PERFORM dashboard_count_answers(ids);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.dashboard_recount() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    LOCK TABLE questions, responses, attempts, call_errors IN SHARE ROW EXCLUSIVE MODE;
    PERFORM pg_advisory_xact_lock(hashtext('dashboard_compact'));
    DELETE FROM dashboard_counts;
    DELETE FROM dashboard_changes;
    DELETE FROM dashboard_answers;
    INSERT INTO dashboard_answers SELECT * FROM dashboard_answers_now(NULL);
    INSERT INTO dashboard_changes
    SELECT minute, kind, label, counted.attempts, bin, sum(n), sum(sum_1), sum(sum_2)
    FROM dashboard_answers AS answer CROSS JOIN LATERAL dashboard_counts_of(answer) AS counted
    GROUP BY 1, 2, 3, 4, 5;
    INSERT INTO dashboard_changes
    SELECT '-infinity', 'questions', status, 0, 0, count(*), sum(times_asked), 0 FROM questions GROUP BY status;
    INSERT INTO dashboard_changes
    SELECT date_trunc('minute', at), kind, label, 0, 0, sum(n), sum(sum_1), sum(sum_2)
    FROM (
        SELECT 'attempts' AS label, generated_at AS at, prompt_tokens + judge_prompt_tokens AS prompt_tokens,
               completion_tokens + judge_completion_tokens AS completion_tokens,
               coalesce(cost + judge_cost, cost, judge_cost) AS cost
        FROM attempts
        UNION ALL
        SELECT 'errors', failed_at, prompt_tokens, completion_tokens, cost FROM call_errors
    ) AS calls
    CROSS JOIN LATERAL (VALUES ('calls', 1, prompt_tokens, completion_tokens), ('cost', 1, cost, 0)) AS counted (kind, n, sum_1, sum_2)
    WHERE sum_1 IS NOT NULL
    GROUP BY 1, 2, 3;
    PERFORM dashboard_compact();
END
$$;

CREATE FUNCTION public.dashboard_written() RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    written CONSTANT bigint := nextval('dashboard_writes');
BEGIN
    IF written % 100 = 0 THEN
        PERFORM dashboard_compact(prune => written % 100000 = 0);
    END IF;
END
$$;

CREATE FUNCTION public.forget_questions(ids text[]) RETURNS SETOF text
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- In the order of their ids, as everybody does who locks several: two that wait for each other would be a deadlock.
    PERFORM FROM questions WHERE question_id = ANY (ids) ORDER BY question_id FOR UPDATE;
    -- Answers first: while one is there, the dashboard's triggers count it anew with each attempt that goes.
    DELETE FROM responses WHERE question_id = ANY (ids);
    DELETE FROM attempts WHERE question_id = ANY (ids);
    DELETE FROM call_errors WHERE question_id = ANY (ids);
    DELETE FROM failed_questions WHERE question_id = ANY (ids);
    RETURN QUERY
    WITH letters AS (
        DELETE FROM dead_letters WHERE question_id = ANY (ids) RETURNING question_id
    ), gone AS (
        DELETE FROM questions WHERE question_id = ANY (ids) RETURNING question_id, asked_at
    )
    INSERT INTO deleted_questions AS known (question_id, asked_at)
    -- A dead letter of a question without a row does not tell when that was asked.
    SELECT question_id, coalesce(gone.asked_at, now())
    FROM (SELECT question_id FROM gone UNION SELECT question_id FROM letters) AS forgotten
    LEFT JOIN gone USING (question_id)
    ON CONFLICT (question_id) DO UPDATE
    SET asked_at = greatest(known.asked_at, excluded.asked_at), deleted_at = excluded.deleted_at
    RETURNING known.question_id;
END
$$;

CREATE FUNCTION public.score_bin(score numeric) RETURNS integer
    LANGUAGE sql IMMUTABLE
    AS $$SELECT floor(score * 100)::integer$$;

CREATE FUNCTION public.time_bin(ms bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE
    AS $$SELECT floor(ln(greatest(ms, 1)::float8) * 50)::integer$$;

CREATE TABLE public.attempts (
    question_id text NOT NULL,
    attempt integer NOT NULL,
    model text NOT NULL,
    llm_response text NOT NULL,
    bert_score numeric(7,6),
    llm_latency_ms integer NOT NULL,
    prompt_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    generated_at timestamp with time zone NOT NULL,
    cost numeric(18,9),
    reasoning_tokens integer DEFAULT 0 NOT NULL,
    judge_probability real,
    judge_problem text,
    judge_model text,
    judge_prompt_tokens integer DEFAULT 0 NOT NULL,
    judge_completion_tokens integer DEFAULT 0 NOT NULL,
    judge_cost numeric(18,9)
);

COMMENT ON TABLE public.attempts IS 'Every scored generation, kept or not; those below the threshold appear while the question is still in flight.';

COMMENT ON COLUMN public.attempts.cost IS 'Of the call, in the currency of LLM_PRICES; null: no price of the model was known.';

COMMENT ON COLUMN public.attempts.reasoning_tokens IS 'Of the completion tokens, those of what the model thought.';

COMMENT ON COLUMN public.attempts.judge_probability IS 'That the answer is right, as the judge says; null: it was not asked, or refused the answer.';

COMMENT ON COLUMN public.attempts.judge_problem IS 'What is probably wrong: wrong, incomplete, off_topic; refused: it does not judge the answer. Null: nothing.';

COMMENT ON COLUMN public.attempts.judge_model IS 'Null: no judge was asked, or the references were replaced since then.';

COMMENT ON COLUMN public.attempts.judge_prompt_tokens IS 'Of the call of the judge; they stay when the references are replaced.';

COMMENT ON COLUMN public.attempts.judge_cost IS 'Of the call of the judge, in the currency of LLM_PRICES; null: no call, or no price of its model was known.';

CREATE TABLE public.call_errors (
    question_id text NOT NULL,
    attempt integer NOT NULL,
    retry integer NOT NULL,
    type text NOT NULL,
    status_code integer,
    message text NOT NULL,
    failed_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone,
    prompt_tokens integer DEFAULT 0 NOT NULL,
    completion_tokens integer DEFAULT 0 NOT NULL,
    cost numeric(18,9),
    cause text DEFAULT 'other'::text NOT NULL,
    times integer DEFAULT 1 NOT NULL,
    counts_as_retry boolean DEFAULT true NOT NULL
);

COMMENT ON TABLE public.call_errors IS 'Failed calls of the model: in which attempt, after how many retries, and when the next one was due (null: never).';

COMMENT ON COLUMN public.call_errors.cost IS 'Of an answer that was empty or refused; null: the call took nothing, or no price of the model was known.';

COMMENT ON COLUMN public.call_errors.cause IS 'Why, in more detail than type: rate_limit, unavailable, refused_content and others.';

COMMENT ON COLUMN public.call_errors.times IS 'Failed calls of this attempt and retry; the row is of the last one. Whoever counts calls takes sum(times).';

COMMENT ON COLUMN public.call_errors.counts_as_retry IS 'False: the provider did not admit the call, or was unavailable for everybody. It cost time, and no retry.';

CREATE VIEW public.question_usage AS
 WITH calls AS (
         SELECT attempts.question_id,
            1 AS attempts,
            (attempts.prompt_tokens + attempts.judge_prompt_tokens) AS prompt_tokens,
            (attempts.completion_tokens + attempts.judge_completion_tokens) AS completion_tokens,
            COALESCE((attempts.cost + attempts.judge_cost), attempts.cost, attempts.judge_cost) AS cost,
            attempts.generated_at AS at
           FROM public.attempts
        UNION ALL
         SELECT call_errors.question_id,
            0,
            call_errors.prompt_tokens,
            call_errors.completion_tokens,
            call_errors.cost,
            call_errors.failed_at
           FROM public.call_errors
          WHERE ((call_errors.prompt_tokens + call_errors.completion_tokens) > 0)
        )
 SELECT question_id,
    sum(attempts) AS attempts,
    sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    sum(cost) AS cost,
    min(at) AS first_at
   FROM calls
  GROUP BY question_id;

CREATE TABLE public.responses (
    question_id text NOT NULL,
    question_text text NOT NULL,
    original_answer text,
    llm_response text NOT NULL,
    bert_score numeric(7,6),
    bert_precision numeric(7,6),
    bert_recall numeric(7,6),
    quality text NOT NULL,
    scorer text,
    model text NOT NULL,
    processing_attempts integer NOT NULL,
    total_processing_time_ms bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    bert_f1 numeric(7,6),
    reference_index smallint,
    unscored_reason text,
    warnings text[] DEFAULT '{}'::text[] NOT NULL,
    judge_probability real,
    judge_problem text,
    judge_model text,
    rejected_by text,
    CONSTRAINT responses_quality_check CHECK ((quality = ANY (ARRAY['accepted'::text, 'max_retries_reached'::text, 'self_check_accepted'::text, 'self_check_max_retries_reached'::text, 'unscored'::text])))
);

COMMENT ON TABLE public.responses IS 'The answer that was kept of each completed question.';

COMMENT ON COLUMN public.responses.bert_score IS 'BERTScore F1 on a scale where 0 is what unrelated texts get and 1 is identity; precision, recall and bert_f1 are raw.';

COMMENT ON COLUMN public.responses.quality IS 'What became of the answer. self_check_*: without a reference, scored against further answers of the same model.';

COMMENT ON COLUMN public.responses.reference_index IS 'The reference that counted: 0 is original_answer, 1 the first of further_references; null: unscored, or a self-check.';

COMMENT ON COLUMN public.responses.unscored_reason IS 'Why there is no score: no_reference, unknown_tokens, other_language; null: there is one, or an older version wrote the row.';

COMMENT ON COLUMN public.responses.warnings IS 'truncated: the end of a text did not affect the score. repetition: the answer repeats itself. other_number, other_name: the answer has one that the reference lacks, and lacks one that the reference has.';

COMMENT ON COLUMN public.responses.judge_probability IS 'That the answer is right, as the judge says; null: it was not asked, or refused the answer.';

COMMENT ON COLUMN public.responses.judge_problem IS 'What is probably wrong: wrong, incomplete, off_topic; refused: it does not judge the answer. Null: nothing.';

COMMENT ON COLUMN public.responses.judge_model IS 'Null: no judge was asked, or the references were replaced since then.';

COMMENT ON COLUMN public.responses.rejected_by IS 'Why the answer is not accepted: score, judge (only the judge rejects it); null: accepted or unscored, or an older version wrote the row.';

CREATE VIEW public.cost_summary AS
 SELECT ((question_usage.first_at AT TIME ZONE 'UTC'::text))::date AS day,
    count(*) AS questions,
    count(*) FILTER (WHERE (responses.quality = 'accepted'::text)) AS accepted,
    sum((question_usage.prompt_tokens + question_usage.completion_tokens)) AS tokens,
    sum(question_usage.cost) AS cost,
    round((sum(question_usage.cost) / (NULLIF(count(question_usage.cost), 0))::numeric), 9) AS cost_per_question,
    round((sum(question_usage.cost) / (NULLIF(count(question_usage.cost) FILTER (WHERE (responses.quality = 'accepted'::text)), 0))::numeric), 9) AS cost_per_accepted,
    round((sum(question_usage.cost) FILTER (WHERE ((responses.quality ~~ 'self_check%'::text) IS NOT TRUE)) / NULLIF(sum(GREATEST(responses.bert_score, (0)::numeric)) FILTER (WHERE ((question_usage.cost IS NOT NULL) AND ((responses.quality ~~ 'self_check%'::text) IS NOT TRUE))), (0)::numeric)), 9) AS cost_per_point
   FROM (public.question_usage
     LEFT JOIN public.responses USING (question_id))
  GROUP BY (((question_usage.first_at AT TIME ZONE 'UTC'::text))::date)
  ORDER BY (((question_usage.first_at AT TIME ZONE 'UTC'::text))::date);

CREATE TABLE public.dashboard_changes (
    minute timestamp with time zone NOT NULL,
    kind text NOT NULL,
    label text NOT NULL,
    attempts integer NOT NULL,
    bin integer NOT NULL,
    n bigint NOT NULL,
    sum_1 numeric NOT NULL,
    sum_2 numeric NOT NULL
);

COMMENT ON TABLE public.dashboard_changes IS 'Changes of dashboard_counts that are not added there yet. The minute is that of the answer or call.';

CREATE TABLE public.dashboard_counts (
    level text NOT NULL,
    period timestamp with time zone NOT NULL,
    kind text NOT NULL,
    label text NOT NULL,
    attempts integer NOT NULL,
    bin integer NOT NULL,
    n bigint NOT NULL,
    sum_1 numeric NOT NULL,
    sum_2 numeric NOT NULL,
    CONSTRAINT dashboard_counts_level_check CHECK ((level = ANY (ARRAY['all'::text, 'hour'::text, 'minute'::text])))
);

COMMENT ON TABLE public.dashboard_counts IS 'Counts and sums, by kind:
questions: by label (status); sum_1 of times_asked
calls:     by label (attempts, errors); sum_1 of prompt tokens, sum_2 of completion tokens
cost:      calls whose cost is known, by label; sum_1 of the cost
answers:   by label (quality), attempts, bin (1: it has a score); sum_1 of scores, sum_2 of their squares
score:     answers by label (quality), bin of the score
time:      answers by bin of the processing time
first:     scored answers whose first attempt has a score, by label (quality), attempts; sum_1 of the first scores
gain:      the same, by bin (1: kept is better than first) too; sum_1 of the gains, sum_2 of their squares
priced:    answers of a known cost, by label (quality); sum_1 of the costs, sum_2 of scores above 0
rejected:  answers that only the judge rejects, by label (quality)
prefix:    first `attempts` attempts of questions, by label (ended, more: further ones follow), bin of their best score;
           sum_1 of the best scores, sum_2 of the best scores with one attempt more';

CREATE SEQUENCE public.dashboard_writes
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.dead_letters (
    id bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    source_topic text,
    source_partition integer,
    source_offset bigint,
    reason text NOT NULL,
    error text NOT NULL,
    key bytea,
    value bytea,
    value_bytes bigint,
    question_id text,
    failed_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    replayed_at timestamp with time zone,
    CONSTRAINT dead_letters_reason_check CHECK ((reason = ANY (ARRAY['malformed'::text, 'internal_error'::text])))
);

COMMENT ON TABLE public.dead_letters IS 'Messages that were rejected: where they stood, why, and their bytes.';

COMMENT ON COLUMN public.dead_letters.source_topic IS 'Where the message was rejected; topic, partition and topic_offset tell where its letter stands.';

COMMENT ON COLUMN public.dead_letters.value IS 'The first 64 kB; null: the message had no value, or it was too large to be forwarded.';

COMMENT ON COLUMN public.dead_letters.value_bytes IS 'Size of the whole value; more than value has: it was cut.';

COMMENT ON COLUMN public.dead_letters.question_id IS 'The key, where it is the id of a question.';

COMMENT ON COLUMN public.dead_letters.replayed_at IS 'When the bytes were written to the source topic again; null: never.';

ALTER TABLE public.dead_letters ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.dead_letters_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.deleted_questions (
    question_id text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.deleted_questions IS 'Questions that were deleted. storage-writer drops their messages. A row goes when no topic can hold one any longer.';

COMMENT ON COLUMN public.deleted_questions.asked_at IS 'Messages of a question that was asked then or earlier are dropped; one that was asked later is a new one.';

CREATE TABLE public.failed_questions (
    question_id text NOT NULL,
    reason text NOT NULL,
    retry_count integer NOT NULL,
    last_error text NOT NULL,
    failed_at timestamp with time zone NOT NULL,
    CONSTRAINT failed_questions_reason_check CHECK ((reason = ANY (ARRAY['retries_exhausted'::text, 'patience_exhausted'::text, 'not_retryable'::text, 'malformed'::text, 'internal_error'::text])))
);

COMMENT ON COLUMN public.failed_questions.reason IS 'patience_exhausted: the provider admitted no call for longer than a question waits. internal_error: a fault of a service, not of the message.';

CREATE VIEW public.error_distribution AS
 SELECT reason,
    count(*) AS questions,
    round(((100.0 * (count(*))::numeric) / sum(count(*)) OVER ()), 1) AS percentage,
    round(avg(retry_count), 2) AS mean_retries,
    max(failed_at) AS last_failed_at
   FROM public.failed_questions
  GROUP BY reason
  ORDER BY (count(*)) DESC;

CREATE VIEW public.latency_by_stage AS
SELECT
    NULL::text AS stage,
    NULL::bigint AS questions,
    NULL::numeric AS mean_ms,
    NULL::double precision AS p50_ms,
    NULL::double precision AS p95_ms;

CREATE VIEW public.model_usage AS
 SELECT model,
    attempt,
    count(*) AS answers,
    round(avg(bert_score), 4) AS mean_score,
    sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    sum(cost) AS cost,
    (count(*) - count(cost)) AS without_price
   FROM public.attempts
  GROUP BY model, attempt
  ORDER BY model, attempt;

CREATE TABLE public.questions (
    question_id text NOT NULL,
    question_text text NOT NULL,
    question_context text,
    original_answer text,
    status text DEFAULT 'pending'::text NOT NULL,
    times_asked integer DEFAULT 1 NOT NULL,
    asked_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    topic text,
    best json,
    further_references text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT questions_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'completed'::text, 'failed'::text])))
);

COMMENT ON COLUMN public.questions.published_at IS 'When the broker acknowledged the question; null: not yet, storage-writer will publish it again.';

COMMENT ON COLUMN public.questions.topic IS 'What the question is about, in the words of who asked it first with one; null: nobody said.';

COMMENT ON COLUMN public.questions.best IS 'The best scored answer so far of a pending question, as messages carry it: with it, a lost question goes on.';

COMMENT ON COLUMN public.questions.further_references IS 'Human references beside original_answer. The one with which an answer scores highest counts.';

CREATE VIEW public.regeneration_analysis AS
 SELECT kept.question_id,
    kept.processing_attempts,
    kept.quality,
    first.bert_score AS first_score,
    kept.bert_score AS kept_score,
    (kept.bert_score - first.bert_score) AS gain,
    kept.created_at
   FROM (public.responses kept
     JOIN public.attempts first ON (((first.question_id = kept.question_id) AND (first.attempt = 1))))
  WHERE (kept.bert_score IS NOT NULL);

CREATE TABLE public.schema_versions (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.schema_versions IS 'The files of sql/ that were applied.';

CREATE VIEW public.score_summary AS
 SELECT quality,
    processing_attempts,
    count(*) AS answers,
    round(avg(bert_score), 4) AS mean_score,
    round((percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY ((bert_score)::double precision)))::numeric, 4) AS median_score,
    round(stddev_samp(bert_score), 4) AS deviation,
    min(bert_score) AS lowest,
    max(bert_score) AS highest
   FROM public.responses
  GROUP BY quality, processing_attempts
  ORDER BY quality, processing_attempts;

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (question_id, attempt);

ALTER TABLE ONLY public.call_errors
    ADD CONSTRAINT call_errors_pkey PRIMARY KEY (question_id, attempt, retry);

ALTER TABLE ONLY public.dashboard_answers
    ADD CONSTRAINT dashboard_answers_pkey PRIMARY KEY (question_id);

ALTER TABLE ONLY public.dashboard_counts
    ADD CONSTRAINT dashboard_counts_pkey PRIMARY KEY (level, period, kind, label, attempts, bin);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_once UNIQUE (topic, partition, topic_offset, failed_at);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.deleted_questions
    ADD CONSTRAINT deleted_questions_pkey PRIMARY KEY (question_id);

ALTER TABLE ONLY public.failed_questions
    ADD CONSTRAINT failed_questions_pkey PRIMARY KEY (question_id);

ALTER TABLE ONLY public.questions
    ADD CONSTRAINT questions_pkey PRIMARY KEY (question_id);

ALTER TABLE ONLY public.responses
    ADD CONSTRAINT responses_pkey PRIMARY KEY (question_id);

ALTER TABLE ONLY public.schema_versions
    ADD CONSTRAINT schema_versions_pkey PRIMARY KEY (name);

CREATE INDEX dead_letters_newest ON public.dead_letters USING btree (received_at DESC, id DESC);

CREATE INDEX dead_letters_open ON public.dead_letters USING btree (id) WHERE (replayed_at IS NULL);

CREATE INDEX dead_letters_question ON public.dead_letters USING btree (question_id) WHERE (question_id IS NOT NULL);

CREATE INDEX deleted_questions_oldest ON public.deleted_questions USING btree (deleted_at);

CREATE INDEX failed_newest ON public.failed_questions USING btree (failed_at DESC, question_id);

CREATE INDEX questions_most_asked ON public.questions USING btree (times_asked DESC, asked_at DESC, question_id);

CREATE INDEX questions_newest ON public.questions USING btree (asked_at DESC, question_id);

CREATE INDEX questions_pending ON public.questions USING btree (asked_at, question_id) WHERE (status = 'pending'::text);

CREATE INDEX questions_status ON public.questions USING btree (status);

CREATE INDEX questions_text ON public.questions USING gin (question_text public.gin_trgm_ops);

CREATE INDEX questions_topic ON public.questions USING btree (topic, asked_at DESC) WHERE (topic IS NOT NULL);

CREATE INDEX questions_unpublished ON public.questions USING btree (asked_at) WHERE ((status = 'pending'::text) AND (published_at IS NULL));

CREATE INDEX responses_attempts ON public.responses USING btree (processing_attempts, quality);

CREATE INDEX responses_created ON public.responses USING btree (created_at);

CREATE INDEX responses_score ON public.responses USING btree (bert_score);

CREATE INDEX responses_scored ON public.responses USING btree (bert_score, question_id) INCLUDE (created_at) WHERE ((bert_score IS NOT NULL) AND (quality = ANY (ARRAY['accepted'::text, 'max_retries_reached'::text])));

CREATE INDEX responses_self_checked ON public.responses USING btree (bert_score, question_id) WHERE ((bert_score IS NOT NULL) AND (quality <> ALL (ARRAY['accepted'::text, 'max_retries_reached'::text])));

CREATE INDEX responses_time ON public.responses USING btree (total_processing_time_ms, question_id) INCLUDE (created_at);

CREATE OR REPLACE VIEW public.latency_by_stage AS
 WITH per_question AS (
         SELECT kept.question_id,
            kept.total_processing_time_ms AS total,
            sum(attempts.llm_latency_ms) AS model
           FROM (public.responses kept
             JOIN public.attempts USING (question_id))
          GROUP BY kept.question_id
        ), stages AS (
         SELECT s.stage,
            s.ms
           FROM (per_question
             CROSS JOIN LATERAL ( VALUES ('total'::text,per_question.total), ('model'::text,per_question.model), ('queues and scoring'::text,(per_question.total - per_question.model))) s(stage, ms))
        )
 SELECT stage,
    count(*) AS questions,
    round(avg(ms)) AS mean_ms,
    round(percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY ((ms)::double precision))) AS p50_ms,
    round(percentile_cont((0.95)::double precision) WITHIN GROUP (ORDER BY ((ms)::double precision))) AS p95_ms
   FROM stages
  GROUP BY stage
  ORDER BY stage;

CREATE TRIGGER dashboard_delete AFTER DELETE ON public.attempts REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_attempts();

CREATE TRIGGER dashboard_delete AFTER DELETE ON public.call_errors REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_call_errors();

CREATE TRIGGER dashboard_delete AFTER DELETE ON public.questions REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_questions();

CREATE TRIGGER dashboard_delete AFTER DELETE ON public.responses REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_responses();

CREATE TRIGGER dashboard_insert AFTER INSERT ON public.attempts REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_attempts();

CREATE TRIGGER dashboard_insert AFTER INSERT ON public.call_errors REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_call_errors();

CREATE TRIGGER dashboard_insert AFTER INSERT ON public.questions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_questions();

CREATE TRIGGER dashboard_insert AFTER INSERT ON public.responses REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_responses();

CREATE TRIGGER dashboard_update AFTER UPDATE ON public.attempts REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_attempts();

CREATE TRIGGER dashboard_update AFTER UPDATE ON public.call_errors REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_call_errors();

CREATE TRIGGER dashboard_update AFTER UPDATE ON public.questions REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_questions();

CREATE TRIGGER dashboard_update AFTER UPDATE ON public.responses REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.dashboard_on_responses();

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_question_id_fkey FOREIGN KEY (question_id) REFERENCES public.questions(question_id);

ALTER TABLE ONLY public.call_errors
    ADD CONSTRAINT call_errors_question_id_fkey FOREIGN KEY (question_id) REFERENCES public.questions(question_id);

ALTER TABLE ONLY public.failed_questions
    ADD CONSTRAINT failed_questions_question_id_fkey FOREIGN KEY (question_id) REFERENCES public.questions(question_id);

ALTER TABLE ONLY public.responses
    ADD CONSTRAINT responses_question_id_fkey FOREIGN KEY (question_id) REFERENCES public.questions(question_id);


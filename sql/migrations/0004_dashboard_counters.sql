-- What the dashboard and GET /stats show of all questions, counted while rows are written: reading it does not take longer
-- the more rows there are. `SELECT dashboard_recount()` counts everything anew.
--
-- Triggers append to dashboard_changes, so no two writers ever wait for the same row. Every now and then one of them adds
-- the changes up in dashboard_counts. Readers take the sum of both, which is exact in every snapshot.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE dashboard_changes (
    minute   timestamptz NOT NULL,
    kind     text        NOT NULL,
    label    text        NOT NULL,
    attempts integer     NOT NULL,
    bin      integer     NOT NULL,
    n        bigint      NOT NULL,
    sum_1    numeric     NOT NULL,
    sum_2    numeric     NOT NULL
);
COMMENT ON TABLE dashboard_changes IS
    'Changes of dashboard_counts that are not added there yet. The minute is that of the answer or call.';

CREATE TABLE dashboard_counts (
    level    text        NOT NULL CHECK (level IN ('all', 'hour', 'minute')),
    period   timestamptz NOT NULL,
    kind     text        NOT NULL,
    label    text        NOT NULL,
    attempts integer     NOT NULL,
    bin      integer     NOT NULL,
    n        bigint      NOT NULL,
    sum_1    numeric     NOT NULL,
    sum_2    numeric     NOT NULL,
    PRIMARY KEY (level, period, kind, label, attempts, bin)
);
COMMENT ON TABLE dashboard_counts IS $$Counts and sums, by kind:
questions: by label (status); sum_1 of times_asked
calls:     by label (attempts, errors); sum_1 of prompt tokens, sum_2 of completion tokens
cost:      calls whose cost is known, by label; sum_1 of the cost
answers:   by label (quality), attempts, bin (1: it has a score); sum_1 of scores, sum_2 of their squares
score:     answers by label (quality), bin of the score
time:      answers by bin of the processing time
first:     scored answers whose first attempt has a score, by label (quality), attempts; sum_1 of the first scores
gain:      the same, by bin (1: kept is better than first) too; sum_1 of the gains, sum_2 of their squares
priced:    answers of a known cost, by label (quality); sum_1 of the costs, sum_2 of scores above 0
prefix:    first `attempts` attempts of questions, by label (ended, more: further ones follow), bin of their best score;
           sum_1 of the best scores, sum_2 of the best scores with one attempt more$$;

-- The number of written changes decides when they are added up.
CREATE SEQUENCE dashboard_writes;

CREATE TABLE dashboard_answers (
    question_id text PRIMARY KEY,
    minute      timestamptz NOT NULL,
    quality     text        NOT NULL,
    attempts    integer     NOT NULL,
    score       numeric(7, 6),
    first_score numeric(7, 6),
    scores      numeric(7, 6)[] NOT NULL,
    time_ms     bigint      NOT NULL,
    cost        numeric
);
COMMENT ON TABLE dashboard_answers IS 'What is counted of each answer: an answer that changes or goes is taken away as it was counted.';

-- A bin is 0.01 wide.
CREATE FUNCTION score_bin(score numeric) RETURNS integer LANGUAGE sql IMMUTABLE AS
'SELECT floor(score * 100)::integer';

-- A bin is 2 % wide: it starts at exp(bin / 50) ms.
CREATE FUNCTION time_bin(ms bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS
'SELECT floor(ln(greatest(ms, 1)::float8) * 50)::integer';

CREATE FUNCTION dashboard_counts_of(answer dashboard_answers)
RETURNS TABLE (kind text, label text, attempts integer, bin integer, n bigint, sum_1 numeric, sum_2 numeric)
LANGUAGE sql IMMUTABLE ROWS 8 AS $$
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

-- What is to be counted of the answers to some questions; null: to all.
CREATE FUNCTION dashboard_answers_now(ids text[]) RETURNS SETOF dashboard_answers LANGUAGE sql STABLE AS $$
    SELECT kept.question_id, date_trunc('minute', kept.created_at), kept.quality, kept.processing_attempts,
           kept.bert_score, tried.first_score, coalesce(tried.scores, '{}'), kept.total_processing_time_ms,
           CASE WHEN tried.cost IS NULL THEN erred.cost ELSE tried.cost + coalesce(erred.cost, 0) END
    FROM responses AS kept
    CROSS JOIN LATERAL (
        SELECT array_agg(bert_score ORDER BY attempt) FILTER (WHERE bert_score IS NOT NULL) AS scores,
               max(bert_score) FILTER (WHERE attempt = 1) AS first_score, sum(cost) AS cost
        FROM attempts WHERE attempts.question_id = kept.question_id
    ) AS tried
    CROSS JOIN LATERAL (
        SELECT sum(cost) AS cost FROM call_errors WHERE call_errors.question_id = kept.question_id
    ) AS erred
    WHERE ids IS NULL OR kept.question_id = ANY (ids)
$$;

-- Adds the changes up. Whoever finds another one at it leaves it alone.
CREATE FUNCTION dashboard_compact(prune boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
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

CREATE FUNCTION dashboard_written() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    written CONSTANT bigint := nextval('dashboard_writes');
BEGIN
    IF written % 100 = 0 THEN
        PERFORM dashboard_compact(prune => written % 100000 = 0);
    END IF;
END
$$;

-- Counts the answers to some questions anew, as they are now.
CREATE FUNCTION dashboard_count_answers(ids text[]) RETURNS void LANGUAGE plpgsql AS $$
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

-- The triggers are of statements, not of rows. One of an INSERT has no old rows and one of a DELETE no new ones; both have
-- the name `changed`.
CREATE FUNCTION dashboard_on_questions() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE FUNCTION dashboard_on_responses() RETURNS trigger LANGUAGE plpgsql AS $$
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

-- Attempts and call_errors differ in the name of the time.
DO $outer$
DECLARE
    known record;
BEGIN
    FOR known IN VALUES ('attempts', 'generated_at', 'attempts'), ('call_errors', 'failed_at', 'errors') LOOP
        EXECUTE format($create$
CREATE FUNCTION dashboard_on_%1$s() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
BEGIN
    INSERT INTO dashboard_changes
    SELECT date_trunc('minute', %2$I), kind, '%3$s', 0, 0, sign * sum(n), sign * sum(sum_1), sign * sum(sum_2)
    FROM changed CROSS JOIN (SELECT CASE TG_OP WHEN 'DELETE' THEN -1 ELSE 1 END AS sign) AS signs
    CROSS JOIN LATERAL (VALUES ('calls', 1, prompt_tokens, completion_tokens), ('cost', 1, cost, 0)) AS counted (kind, n, sum_1, sum_2)
    WHERE sum_1 IS NOT NULL
    GROUP BY 1, 2, sign;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO dashboard_changes
        SELECT date_trunc('minute', %2$I), kind, '%3$s', 0, 0, -sum(n), -sum(sum_1), -sum(sum_2)
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
$$ $create$, known.column1, known.column2, known.column3);
    END LOOP;
END
$outer$;

DO $outer$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['questions', 'responses', 'attempts', 'call_errors'] LOOP
        EXECUTE format('CREATE TRIGGER dashboard_insert AFTER INSERT ON %1$I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION dashboard_on_%1$s()', name);
        EXECUTE format('CREATE TRIGGER dashboard_update AFTER UPDATE ON %1$I REFERENCING OLD TABLE AS before NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION dashboard_on_%1$s()', name);
        EXECUTE format('CREATE TRIGGER dashboard_delete AFTER DELETE ON %1$I REFERENCING OLD TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION dashboard_on_%1$s()', name);
    END LOOP;
END
$outer$;

-- Counts everything anew. Nobody writes meanwhile: the lock conflicts with writing, not with reading.
CREATE FUNCTION dashboard_recount() RETURNS void LANGUAGE plpgsql AS $$
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
        SELECT 'attempts' AS label, generated_at AS at, prompt_tokens, completion_tokens, cost FROM attempts
        UNION ALL
        SELECT 'errors', failed_at, prompt_tokens, completion_tokens, cost FROM call_errors
    ) AS calls
    CROSS JOIN LATERAL (VALUES ('calls', 1, prompt_tokens, completion_tokens), ('cost', 1, cost, 0)) AS counted (kind, n, sum_1, sum_2)
    WHERE sum_1 IS NOT NULL
    GROUP BY 1, 2, 3;
    PERFORM dashboard_compact();
END
$$;

-- Counts of the last minutes since then, of the whole minute in which it lies; null: of all times.
CREATE FUNCTION dashboard_counted(since timestamptz, kinds text[])
RETURNS TABLE (kind text, label text, attempts integer, bin integer, n bigint, sum_1 numeric, sum_2 numeric)
LANGUAGE sql STABLE AS $$
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

DO 'BEGIN PERFORM dashboard_recount(); END';

-- For the list of questions and the dashboard's exact percentiles.
CREATE INDEX questions_text ON questions USING gin (question_text gin_trgm_ops);
CREATE INDEX questions_most_asked ON questions (times_asked DESC, asked_at DESC, question_id);
DROP INDEX questions_asked;
CREATE INDEX responses_scored ON responses (bert_score, question_id) INCLUDE (created_at)
    WHERE bert_score IS NOT NULL AND quality IN ('accepted', 'max_retries_reached');
CREATE INDEX responses_self_checked ON responses (bert_score, question_id)
    WHERE bert_score IS NOT NULL AND quality NOT IN ('accepted', 'max_retries_reached');
CREATE INDEX responses_time ON responses (total_processing_time_ms, question_id) INCLUDE (created_at);
CREATE INDEX responses_attempts ON responses (processing_attempts, quality);

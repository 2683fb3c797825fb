-- What a judge says about answers: a model that compares them with the references. Rows that are there have no judgement.
ALTER TABLE responses ADD COLUMN judge_probability real;
COMMENT ON COLUMN responses.judge_probability IS
    'That the answer is right, as the judge says; null: it was not asked, or refused the answer.';
ALTER TABLE responses ADD COLUMN judge_problem text;
COMMENT ON COLUMN responses.judge_problem IS
    'What is probably wrong: wrong, incomplete, off_topic; refused: it does not judge the answer. Null: nothing.';
ALTER TABLE responses ADD COLUMN judge_model text;
COMMENT ON COLUMN responses.judge_model IS
    'Null: no judge was asked, or the references were replaced since then.';
ALTER TABLE responses ADD COLUMN rejected_by text;
COMMENT ON COLUMN responses.rejected_by IS
    'Why the answer is not accepted: score, judge (only the judge rejects it); null: accepted or unscored, or an older version wrote the row.';

ALTER TABLE attempts ADD COLUMN judge_probability real;
COMMENT ON COLUMN attempts.judge_probability IS
    'That the answer is right, as the judge says; null: it was not asked, or refused the answer.';
ALTER TABLE attempts ADD COLUMN judge_problem text;
COMMENT ON COLUMN attempts.judge_problem IS
    'What is probably wrong: wrong, incomplete, off_topic; refused: it does not judge the answer. Null: nothing.';
ALTER TABLE attempts ADD COLUMN judge_model text;
COMMENT ON COLUMN attempts.judge_model IS
    'Null: no judge was asked, or the references were replaced since then.';
ALTER TABLE attempts ADD COLUMN judge_prompt_tokens integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN attempts.judge_prompt_tokens IS
    'Of the call of the judge; they stay when the references are replaced.';
ALTER TABLE attempts ADD COLUMN judge_completion_tokens integer NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN judge_cost numeric(18, 9);
COMMENT ON COLUMN attempts.judge_cost IS
    'Of the call of the judge, in the currency of LLM_PRICES; null: no call, or no price of its model was known.';

-- The dashboard's totals of tokens and cost include the judge's, and answers that only it rejects are counted. What was
-- counted before has neither, so a recount is not necessary.
ALTER TABLE dashboard_answers ADD COLUMN rejected_by text;
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
rejected:  answers that only the judge rejects, by label (quality)
prefix:    first `attempts` attempts of questions, by label (ended, more: further ones follow), bin of their best score;
           sum_1 of the best scores, sum_2 of the best scores with one attempt more$$;

CREATE OR REPLACE FUNCTION dashboard_counts_of(answer dashboard_answers) RETURNS TABLE(kind text, label text, attempts integer, bin integer, n bigint, sum_1 numeric, sum_2 numeric)
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

CREATE OR REPLACE FUNCTION dashboard_answers_now(ids text[]) RETURNS SETOF dashboard_answers
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

CREATE OR REPLACE FUNCTION dashboard_on_attempts() RETURNS trigger
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

CREATE OR REPLACE FUNCTION dashboard_recount() RETURNS void
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

-- Warnings that are new.
COMMENT ON COLUMN responses.warnings IS
    'truncated: the end of a text did not affect the score. repetition: the answer repeats itself. other_number, other_name: the answer has one that the reference lacks, and lacks one that the reference has.';

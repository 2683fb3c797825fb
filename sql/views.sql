-- Views for the dashboard and for psql. This file may be changed; see `migrate`. Drop your own views that use one of these
-- before the file is applied again.
DROP VIEW IF EXISTS
    cost_summary,
    error_distribution,
    latency_by_stage,
    model_usage,
    question_usage,
    regeneration_analysis,
    score_summary;

CREATE VIEW score_summary AS
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

-- For each question: the scores of its first answer and of its final answer.
CREATE VIEW regeneration_analysis AS
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

CREATE VIEW latency_by_stage AS
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

CREATE VIEW error_distribution AS
SELECT
    reason,
    count(*)                                            AS questions,
    round(100.0 * count(*) / sum(count(*)) OVER (), 1)  AS percentage,
    round(avg(retry_count), 2)                          AS mean_retries,
    max(failed_at)                                      AS last_failed_at
FROM failed_questions
GROUP BY reason
ORDER BY questions DESC;

-- Tokens and cost of all scored answers of each model, without those of the judge. A cost is null when no price was known.
CREATE VIEW model_usage AS
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

-- Tokens and cost of each question: all its attempts with their judgements, and failed calls that took tokens.
CREATE VIEW question_usage AS
WITH calls AS (
    SELECT
        question_id,
        1                                             AS attempts,
        prompt_tokens + judge_prompt_tokens           AS prompt_tokens,
        completion_tokens + judge_completion_tokens   AS completion_tokens,
        coalesce(cost + judge_cost, cost, judge_cost) AS cost,
        generated_at                                  AS at
    FROM attempts
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

-- Total cost by day (UTC, of the first call), per question, per accepted answer and per point of score of final answers.
-- It includes the cost of failed calls. The last three leave out questions without a known price.
CREATE VIEW cost_summary AS
SELECT
    (first_at AT TIME ZONE 'UTC')::date                                                              AS day,
    count(*)                                                                                         AS questions,
    count(*) FILTER (WHERE quality = 'accepted')                                                     AS accepted,
    sum(prompt_tokens + completion_tokens)                                                           AS tokens,
    sum(cost)                                                                                        AS cost,
    round(sum(cost) / nullif(count(cost), 0), 9)                                                     AS cost_per_question,
    round(sum(cost) / nullif(count(cost) FILTER (WHERE quality = 'accepted'), 0), 9)                 AS cost_per_accepted,
    -- Only scores against a reference, because self-check scores have another scale.
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

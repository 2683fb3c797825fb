-- Deletion of questions: one function deletes them and all that hangs on them, and a list keeps late messages from bringing
-- them back. The list has no texts; an id is a hash of one.
CREATE TABLE deleted_questions (
    question_id text PRIMARY KEY,
    asked_at    timestamptz NOT NULL,
    deleted_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE deleted_questions IS
    'Questions that were deleted. storage-writer drops their messages. A row goes when no topic can hold one any longer.';
COMMENT ON COLUMN deleted_questions.asked_at IS
    'Messages of a question that was asked then or earlier are dropped; one that was asked later is a new one.';
CREATE INDEX deleted_questions_oldest ON deleted_questions (deleted_at);

CREATE INDEX dead_letters_question ON dead_letters (question_id) WHERE question_id IS NOT NULL;

-- Deletes questions, their answers, attempts, failed calls, failures and dead letters, and lists them as deleted.
-- Returns the ids of those of which there was anything.
CREATE FUNCTION forget_questions(ids text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
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

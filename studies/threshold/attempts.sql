-- Input of the threshold study: the fleet's attempts at questions with a reference answer, one JSON object a line.
-- A fleet asks again only after a low score; with QUALITY_THRESHOLD=1 every question has all attempts.
SELECT json_build_object(
    'question_id', question_id,
    'question_text', question_text,
    'original_answer', original_answer,
    'attempt', attempt,
    'model', model,
    'llm_response', llm_response
)
FROM attempts JOIN questions USING (question_id)
WHERE original_answer IS NOT NULL
ORDER BY asked_at, question_id, attempt;

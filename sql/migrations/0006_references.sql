-- Several references of a question, and which of them counted.
ALTER TABLE questions ADD COLUMN further_references text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN questions.further_references IS
    'Human references beside original_answer. The one with which an answer scores highest counts.';

-- Answers that were scored so far were compared with original_answer. The default gives them 0 without a rewrite of the
-- table; only the answers that were not compared with a reference are written.
ALTER TABLE responses ADD COLUMN reference_index smallint DEFAULT 0;
ALTER TABLE responses ALTER COLUMN reference_index DROP DEFAULT;
UPDATE responses SET reference_index = NULL
WHERE bert_score IS NULL OR quality NOT IN ('accepted', 'max_retries_reached');
COMMENT ON COLUMN responses.reference_index IS
    'The reference that counted: 0 is original_answer, 1 the first of further_references; null: unscored, or a self-check.';

-- Why an answer has no score, and what to know about a score. Rows that are there keep null and no warnings.
ALTER TABLE responses ADD COLUMN unscored_reason text;
COMMENT ON COLUMN responses.unscored_reason IS
    'Why there is no score: no_reference, unknown_tokens, other_language; null: there is one, or an older version wrote the row.';
ALTER TABLE responses ADD COLUMN warnings text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN responses.warnings IS
    'truncated: the end of a text did not affect the score. repetition: the answer repeats itself.';

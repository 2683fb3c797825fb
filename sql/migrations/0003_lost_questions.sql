-- What finds pending questions by age: the search for lost ones, and the age of the oldest.
CREATE INDEX questions_pending ON questions (asked_at, question_id) WHERE status = 'pending';

ALTER TABLE failed_questions VALIDATE CONSTRAINT failed_questions_reason_check;

-- The role of the dashboard: it reads, and can do nothing else. Its password is that of the environment at each start.
SET client_min_messages = warning;
\getenv reader_password POSTGRES_READER_PASSWORD

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') AS missing \gset
\if :missing
CREATE ROLE reader;
\endif
ALTER ROLE reader
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 32 PASSWORD :'reader_password';
-- A second lock: what may not write does not even try.
ALTER ROLE reader SET default_transaction_read_only = on;

GRANT USAGE ON SCHEMA public TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;

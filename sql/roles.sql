-- Sets the passwords from the environment at each start, so that they can be changed.
\getenv password POSTGRES_PASSWORD
\getenv reader_password POSTGRES_READER_PASSWORD

-- The role of the services, which owns the tables. (This session connects locally, without a password.)
ALTER ROLE CURRENT_USER PASSWORD :'password';

-- The role of the dashboard, which can only read.
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') AS missing \gset
\if :missing
CREATE ROLE reader;
\endif
ALTER ROLE reader
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 32 PASSWORD :'reader_password';
-- A second protection against writes.
ALTER ROLE reader SET default_transaction_read_only = on;
-- Limits, so that it does not block other sessions.
ALTER ROLE reader SET statement_timeout = '10s';
ALTER ROLE reader SET lock_timeout = '2s';
ALTER ROLE reader SET idle_in_transaction_session_timeout = '60s';

GRANT USAGE ON SCHEMA public TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;

-- The database of the archive list, and two roles: one that may change its structure, one that
-- may read and add. Neither the console nor whoever breaks into it can change or remove a row.
--
-- As the superuser, once (psql 15 or newer):
--   HIMURO_OWNER_PASSWORD=… HIMURO_APP_PASSWORD=… psql -v ON_ERROR_STOP=1 -f postgresql.sql

\getenv owner_password HIMURO_OWNER_PASSWORD
\getenv app_password HIMURO_APP_PASSWORD

-- `python -m core init-db`, backup and restore.
CREATE ROLE himuro_owner LOGIN PASSWORD :'owner_password';
-- The console and all other commands.
CREATE ROLE himuro_app LOGIN PASSWORD :'app_password' CONNECTION LIMIT 50;

CREATE DATABASE himuro OWNER himuro_owner
    TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8';

REVOKE ALL ON DATABASE himuro FROM PUBLIC;
GRANT CONNECT ON DATABASE himuro TO himuro_app;

\connect himuro

ALTER SCHEMA public OWNER TO himuro_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO himuro_app;

-- What init-db will create belongs to the owner; this is what the others get of it.
ALTER DEFAULT PRIVILEGES FOR ROLE himuro_owner IN SCHEMA public
    GRANT SELECT, INSERT ON TABLES TO himuro_app;
ALTER DEFAULT PRIVILEGES FOR ROLE himuro_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO himuro_app;

#!/bin/sh
# The image of Postgres runs this once, where it has made a new cluster: the services' user owns their database and is no
# superuser, who has no password and so comes in from inside the container only.
set -eu
export POSTGRES_PASSWORD="${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:?}")}"
exec psql --set=ON_ERROR_STOP=1 --no-psqlrc --no-password --quiet --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv superuser POSTGRES_USER
\getenv password POSTGRES_PASSWORD
CREATE ROLE vedette LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE vedette OWNER vedette;
ALTER ROLE :"superuser" PASSWORD NULL;
SQL

"""Ask the emulated Snowflake, from inside its container."""

import snowflake.connector


def query(statement):
    with snowflake.connector.connect(
        account="molecule",
        user="T",
        password="any",
        host="localhost",
        port=8080,
        protocol="http",
        network_timeout=20,
    ) as session:
        return [list(map(str, row)) for row in session.cursor().execute(statement).fetchall()]

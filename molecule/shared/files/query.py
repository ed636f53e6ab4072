"""Ask the emulated Snowflake, from inside its container: the statement is the only argument."""

import sys

import snowflake.connector

with snowflake.connector.connect(
    account="molecule",
    user="T",
    password="any",
    host="localhost",
    port=8080,
    protocol="http",
    network_timeout=20,
) as session:
    for row in session.cursor().execute(sys.argv[1]).fetchall():
        print(*row, sep=",")

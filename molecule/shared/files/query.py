"""Ask the emulated Snowflake as its administrator, from inside its container: the only argument holds the statements."""

import os
import sys
from pathlib import Path

import snowflake.connector

with snowflake.connector.connect(
    account=os.environ["EMULATED_SNOWFLAKE_ACCOUNT"],
    user=os.environ["EMULATED_SNOWFLAKE_ADMIN_USER"],
    password=Path(os.environ["EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE"]).read_text().splitlines()[0],
    warehouse="MOLECULE",
    host="localhost",
    port=8080,
    disable_ocsp_checks=True,
    network_timeout=20,
) as session:
    for statement in sys.argv[1].split(";"):
        for row in session.cursor().execute(statement).fetchall():
            print(*row, sep=",")

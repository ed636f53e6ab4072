"""Emulated Snowflake: the fakesnow server, made persistent. Any credential is accepted; grants are not exercised."""

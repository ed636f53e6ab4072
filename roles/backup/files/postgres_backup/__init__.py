"""Backups of one PostgreSQL server in an S3 bucket, and the way back; `retailflow-backup` is its command line.

PostgreSQL copies each segment of its log into a spool folder and never waits for the bucket. `ship` stores what the spool holds,
`base` stores a copy of the whole cluster. Everything is compressed and encrypted here, for a key that this host does not have
(`age`, https://age-encryption.org/v1: authenticated, so a changed byte is found when it is read). In the bucket:

- `<system identifier>/base/<start>.tar.gz.age`, and `<start>.json`, which is written last: without it there is no backup;
- `<system identifier>/wal/<segment>.gz.age`.

| module | has |
|---|---|
| `command` | the command line |
| `log` | storing the log: `Log` |
| `base` | base backups, and removing old ones: `Base` |
| `way_back` | what is stored, and a new data folder from it: `WayBack` |
| `spool`, `server`, `store` | what these stand on: the folder, PostgreSQL, the bucket |
| `segments`, `pipeline`, `alerts`, `basics` | names of segments, programs in a row, messages, times and small files |
"""

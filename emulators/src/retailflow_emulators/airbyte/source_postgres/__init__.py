"""source-postgres (embedded): PostgreSQL writes the protocol's RECORD lines itself, one COPY per stream."""

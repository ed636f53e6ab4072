"""What can be measured: every module here is a subject."""

"""Generates the sales of a believable shop into PostgreSQL, as an AWS Lambda function."""

{#- Makes the table in which Dagster writes how runs ended. Only a build makes it: a test writes nothing. -#}
{% macro pipeline_runs() %}
    {% if execute and flags.WHICH == 'build' %}
        create table if not exists {{ target.database }}.marts.pipeline_runs (
            run_id varchar(36) not null comment 'Id of the run in Dagster',
            job varchar(100) not null comment 'Its job',
            status varchar(20) not null comment 'SUCCESS, FAILURE or CANCELED',
            began_at timestamp_ntz not null comment 'In UTC',
            ended_at timestamp_ntz not null comment 'In UTC',
            problem varchar(1000) not null comment 'The first error; empty where it succeeded'
        ) comment = 'How the runs of the pipeline ended, for 30 days; Dagster writes it after each run'
    {% endif %}
{% endmacro %}

{#- Groups need a name: a NULL or blank place is shown as Unknown, and its revenue is not lost. Blank is what Unicode
    calls white space (property White_Space): each becomes a plain space, so that two spellings of a name that look the
    same are the same. Marks that have no width are removed. -#}
{% macro blank_as_unknown(column_name) -%}
    {%- set blanks = "\t\n\x0b\x0c\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
        ~ "\u2028\u2029\u202f\u205f\u3000" -%}
    {%- set without_width = "\u180e\u200b\u2060\ufeff" -%}
    coalesce(
        nullif(trim(translate({{ column_name }}, '{{ blanks ~ without_width }}', '{{ ' ' * blanks | length }}')), ''),
        'Unknown'
    )
{%- endmacro %}

{#- Whole years, from the first day of a sale to the end of the year after the last one, thirty of them at most. -#}
{%- set days = 366 * 30 -%}

with

sold as (

    select
        date_trunc('year', min(purchase_date)) as first_day,
        dateadd('year', 2, date_trunc('year', max(purchase_date))) as end_day
    from {{ ref('int_revenue_by_day') }}
    where orders > 0

),

numbers as (

    select row_number() over (order by seq4()) - 1 as day_number
    from table(generator(rowcount => {{ days }}))

),

days as (

    select cast(dateadd('day', numbers.day_number, sold.first_day) as date) as date_day
    from sold
    cross join numbers
    where dateadd('day', numbers.day_number, sold.first_day) < sold.end_day

)

select
    date_day,

    -- numerics
    year(date_day) as year,
    quarter(date_day) as quarter,
    month(date_day) as month,
    day(date_day) as day_of_month,
    dayofweekiso(date_day) as day_of_week,

    -- text
    monthname(date_day) as month_name,
    dayname(date_day) as day_name,

    -- dates
    cast(date_trunc('month', date_day) as date) as month_start,
    cast(date_trunc('week', date_day) as date) as week_start,

    -- booleans
    dayofweekiso(date_day) >= 6 as is_weekend

from days

{#- Whole years, from the first sale to the year after the last one, wherever in the calendar they lie. A generator wants
    to know its rows before it reads a date, so it makes the years that a date can have, and the days of a year. -#}
with

sold as (

    select
        year(min(purchase_date)) as first_year,
        least(year(max(purchase_date)) + 1, 9999) as last_year
    from {{ ref('int_revenue_by_day') }}
    where orders > 0

),

every_year as (

    select row_number() over (order by seq4()) as year_number
    from table(generator(rowcount => 9999))

),

years as (

    select date_from_parts(every_year.year_number, 1, 1) as first_day
    from every_year
    inner join sold on every_year.year_number between sold.first_year and sold.last_year

),

day_numbers as (

    select row_number() over (order by seq4()) - 1 as day_number
    from table(generator(rowcount => 366))

),

days as (

    select dateadd('day', day_numbers.day_number, years.first_day) as date_day
    from years
    cross join day_numbers
    where year(dateadd('day', day_numbers.day_number, years.first_day)) = year(years.first_day)

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
    date_trunc('month', date_day) as month_start,
    date_trunc('week', date_day) as week_start,

    -- booleans
    dayofweekiso(date_day) >= 6 as is_weekend

from days

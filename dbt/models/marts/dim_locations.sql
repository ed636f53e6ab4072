with

places as (

    select
        country,
        state,
        city
    from {{ ref('int_revenue_by_place') }}
    where orders > 0
    union -- noqa: AM02
    select
        country,
        state,
        city
    from {{ ref('dim_customers') }}

),

country_codes as (

    select * from {{ ref('country_codes') }}

),

state_codes as (

    select * from {{ ref('state_codes') }}

),

identified as (

    select
        {{ location_id() }} as location_id,
        country,
        state,
        city
    from places

)

select
    -- ids
    identified.location_id,

    -- text
    identified.city,
    identified.state,
    identified.country,
    state_codes.state_code,
    country_codes.country_code,
    country_codes.country_code_3

from identified
left join country_codes on identified.country = country_codes.country
left join state_codes on identified.country = state_codes.country and identified.state = state_codes.state

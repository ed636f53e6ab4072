with

places as (

    select * from {{ ref('int_revenue_by_place') }}
    -- A block that lost its last order keeps a row without orders.
    where orders > 0

),

revenue as (

    select
        country,
        state,
        city,
        {{ exact_sum('orders') }} as orders,
        {{ exact_sum('total_revenue', scale=2) }} as total_revenue,
        {{ exact_sum('total_discount', scale=2) }} as total_discount,
        {{ exact_sum('net_revenue', scale=2) }} as net_revenue,
        {{ exact_sum('refund', scale=2) }} as refund

    from places
    group by country, state, city

)

select * from revenue

with

cities as (

    select * from {{ ref('net_revenue_by_city') }}

),

revenue as (

    select
        country,
        state,
        {{ exact_sum('orders') }} as orders,
        {{ exact_sum('total_revenue', scale=2) }} as total_revenue,
        {{ exact_sum('total_discount', scale=2) }} as total_discount,
        {{ exact_sum('net_revenue', scale=2) }} as net_revenue,
        {{ exact_sum('refund', scale=2) }} as refund

    from cities
    group by country, state

)

select * from revenue

with

cities as (

    select * from {{ ref('net_revenue_by_city') }}

),

revenue as (

    select
        country,
        state,
        sum(orders) as orders,
        sum(total_revenue) as total_revenue,
        sum(total_discount) as total_discount,
        sum(net_revenue) as net_revenue,
        sum(refund) as refund

    from cities
    group by country, state

)

select * from revenue
